"""A command's answer that is a folder: whole, or not there."""

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
    """Make a folder beside `out` that gets its name at the end of the `with` block, or goes.

    Raises UsageError where `out` is there already, CheckpointError where the disk refuses.
    """
    temporary = out.with_name(f"{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        if os.path.lexists(out):
            raise UsageError(f"{plain(out)}: exists already; choose another name, nothing is lost")
        try:
            temporary.mkdir(parents=True)
            yield temporary
            temporary.rename(out)
        except BaseException:  # Ctrl-C too
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except TinyllmError:  # which may be a ValueError
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise CheckpointError(f"{plain(out)}: cannot be written: {error}") from error
