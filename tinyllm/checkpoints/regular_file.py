"""Open a file that nobody vouches for, to be mapped."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from tinyllm.checkpoints.diagnose import refusal


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[int]:
    """Open a regular file and give its descriptor for the `with` block; a map outlives it.

    Raises CheckpointError where there is none, and for what goes wrong with it in the block.
    """
    # A FIFO without a writer would block a plain open() for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise refusal(path, f"cannot be opened: {error}") from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise refusal(path, "is not a regular file; expected a file of weights, or a folder")
        yield file
    except (OSError, ValueError) as error:  # ValueError: emptied before it was mapped
        raise refusal(path, f"cannot be read: {error}") from error
    finally:
        os.close(file)
