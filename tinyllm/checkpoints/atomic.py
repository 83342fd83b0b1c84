"""Files that are either old or new, never half written."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tinyllm.checkpoints.diagnose import refusal

EXISTS = "exists already; choose another name, nothing is overwritten"


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, replace: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` at the end of the `with` block, or never.

    Without `replace` it becomes `path` only where nothing has that name by then.

    The bytes go to a temporary file in the same folder, reach the disk, and only then get the name;
    whatever goes wrong before leaves `path` as it was and nothing beside it. A power cut or SIGKILL
    can leave a `*.tmp`, which nothing reads.

    Raises CheckpointError where the folder or the disk refuses, or the name is not to be had.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            (os.replace if replace else rename_new)(temporary, path)
        except BaseException:  # Ctrl-C too
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise refusal(path, EXISTS) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise refusal(path, f"cannot be written: {error}") from error


def rename_new(temporary: Path, path: Path) -> None:
    """Rename a file or folder. Raises FileExistsError where something has the name by now."""
    if temporary.is_dir():
        path.mkdir()  # where renaming replaces an empty folder, it is ours
        if os.name == "nt":  # where it replaces none
            path.rmdir()
        temporary.rename(path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError from None
        temporary.rename(path)
    else:
        temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, on systems that can open a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
