"""One run in a folder at a time, and one chat in a file."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinyllm.errors import UsageError
from tinyllm.shown import plain

BUSY = "is training in this folder; wait for its end, or give another --out"


@contextmanager
def locked(
    path: Path, say: Callable[[str], None] = lambda line: None, *, of: str = "", busy: str = BUSY
) -> Iterator[None]:
    """Hold the lock file `path`, which has this process's number in it, for the `with` block.

    The system lets go of a lock when its process ends, however it ends. So a file that is there and
    not locked is left behind by one that was killed: it is taken over, and `say` hears of it.
    Raises UsageError where another process holds it. The message names `of` (default: the lock's
    folder) and goes on with `busy`. A system without such locks (Windows) has none.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
            raise UsageError(f"{plain(path)}: cannot be written: {error}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(file)
            os.close(file)
            message = f"{plain(of or path.parent)}: process {owner} {busy}"
            raise UsageError(message) from error
        if _is_still(path, file):
            break
        os.close(file)  # its owner removed it between our opening and our locking it
    try:
        if before := _owner(file):
            say(f"{plain(path)}: process {before} ended without tidying up; taking over")
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(file)


def _owner(file: int) -> str:
    """Return the number in the file, or what little it is."""
    return os.pread(file, 20, 0).decode("ascii", "replace").strip()


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False
