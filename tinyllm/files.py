"""Read a file that nobody vouches for: in bounded time, in bounded memory, or not at all."""

import os
from pathlib import Path

from tinyllm.errors import TinyllmError
from tinyllm.shown import plain


def read_bytes(path: Path, error: type[TinyllmError], max_bytes: int) -> bytes:
    """Read a whole regular file of at most `max_bytes`.

    Raises `error` where the file is missing, unreadable, too large, or no regular file: opening a
    pipe would wait for a writer for ever, and a device never ends.
    """
    try:
        if not path.is_file():
            raise error(f"{plain(path)}: {not_a_file(path)}")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # read(n) takes n bytes of memory at once
            content = file.read(min(size, max_bytes) + 1)
    except TinyllmError:  # which may be a ValueError too
        raise
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the name
        raise error(f"{plain(path)}: cannot be read: {cause}") from cause
    if len(content) > max_bytes:
        raise error(
            f"{plain(path)}: is larger than {max_bytes:,} bytes, the most that is read of it"
        )
    return content


def not_a_file(path: Path) -> str:
    """Say what a path is that is no regular file."""
    if path.is_dir():
        return "is a folder; expected a file"
    if path.exists():
        return "is not a regular file"
    return "is a link to nothing" if path.is_symlink() else "no such file"
