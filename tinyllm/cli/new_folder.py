"""Files and folders that appear whole, under names that nothing had, or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from tinyllm.errors import CheckpointError, TinyllmError, UsageError
from tinyllm.shown import plain


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Make a folder as `new_paths` does, to put files into."""
    with new_paths(out) as (folder,):
        folder.mkdir()
        yield folder


@contextlib.contextmanager
def new_paths(*outs: Path) -> Iterator[list[Path]]:
    """Yield a temporary path beside each of `outs`, with the same suffix.

    When the `with` block ends well, what was written there is renamed to its final name. Whatever
    goes wrong, nothing is left; and what another process has put there meanwhile stays. Errors
    speak of `outs`. Raises UsageError where one is there already, CheckpointError where the disk
    refuses.
    """
    names: dict[Path, Path] = {}
    placed: list[Path] = []
    try:
        for out in outs:
            if os.path.lexists(out):  # so are ".", "/" and ""
                raise _exists(out)
            names[out] = out.with_name(f"{out.stem}.{secrets.token_hex(4)}.tmp{out.suffix}")
            out.parent.mkdir(parents=True, exist_ok=True)
        yield list(names.values())
        for out, temporary in names.items():
            _rename(temporary, out, placed)
    except BaseException as error:  # Ctrl-C too
        for path in (*names.values(), *placed):
            _remove(path)
        match error:
            case TinyllmError():  # which may be a ValueError
                said = str(error)
                for out, temporary in names.items():
                    said = said.replace(str(temporary), str(out))
                error.args = (said,)
            case OSError() | ValueError():  # ValueError: a zero byte in the name
                message = f"{plain(outs[0])}: cannot be written: {error}"
                raise CheckpointError(message) from error
        raise


def _exists(path: Path) -> UsageError:
    return UsageError(f"{plain(path)}: exists already; choose another name, nothing is lost")


def _rename(temporary: Path, path: Path, ours: list[Path]) -> None:
    """Rename a file or folder, and note the name as ours as soon as it is.

    Raises UsageError where something has the name by now.
    """
    try:
        if not temporary.is_dir():
            os.link(temporary, path)  # which, unlike a renaming, replaces nothing
            ours.append(path)
            temporary.unlink()
            return
        if os.name != "nt":  # where it replaces an empty folder: let that one be ours
            path.mkdir()
            ours.append(path)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:  # a file system without links
        if os.path.lexists(path):
            raise _exists(path) from error
    temporary.rename(path)
    ours.append(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError, ValueError):  # what went wrong before is to be told
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
