"""Files that are either old or new, never half written."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tinyllm.checkpoints.diagnose import refusal


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` at the end of the `with` block, or never.

    The bytes go to a temporary file in the same folder, reach the disk, and only then get the name;
    whatever goes wrong before leaves `path` as it was and nothing beside it. A power cut or SIGKILL
    can leave a `*.tmp`, which nothing reads.

    Raises CheckpointError where the folder or the disk refuses.
    """
    path = Path(path)
    try:
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:  # Ctrl-C too
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except (OSError, ValueError) as error:  # ValueError: no name, or a zero byte in it
        raise refusal(path, f"cannot be written: {error}") from error


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, on systems that can open a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
