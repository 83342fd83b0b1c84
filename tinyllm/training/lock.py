"""One run in a folder at a time."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinyllm.errors import UsageError
from tinyllm.shown import plain


@contextmanager
def locked(path: Path, say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Hold the lock file `path`, which has this process's number in it, for the `with` block.

    The system lets go of a lock when its process ends, however it ends. So a file that is there and
    not locked is left behind by one that was killed: it is taken over, and `say` hears of it.
    Raises UsageError where another process holds it. A system without such locks (Windows) has
    none.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UsageError(f"{plain(path)}: cannot be written: {error}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(file)
            os.close(file)
            raise UsageError(
                f"{plain(path.parent)}: process {owner} is training in this folder; wait for its "
                f"end, or give another --out"
            ) from error
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
