"""Files and folders that appear whole, under names that nothing had, or not at all."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from os.path import lexists
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
    """Give a name beside each of `outs`; what has it gets its own at the end of the `with` block.

    Whatever goes wrong, nothing is left; and what another process has put there meanwhile stays.
    Errors speak of `outs`. Raises UsageError where one is there already, CheckpointError where the
    disk refuses.
    """
    from tinyllm.checkpoints.atomic import EXISTS, rename_new

    names: dict[Path, Path] = {}
    placed: list[Path] = []
    try:
        for out in outs:
            if lexists(out):  # so are ".", "/" and ""
                raise UsageError(f"{plain(out)}: {EXISTS}")
            names[out] = out.with_name(f"{out.name}.{secrets.token_hex(4)}.tmp")
            out.parent.mkdir(parents=True, exist_ok=True)
        yield list(names.values())
        for out, temporary in names.items():
            try:
                rename_new(temporary, out)
            except FileExistsError as error:
                raise UsageError(f"{plain(out)}: {EXISTS}") from error
            placed.append(out)
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


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError, ValueError):  # what went wrong before is to be told
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
