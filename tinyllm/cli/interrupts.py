"""Signals: Ctrl-C and a request to end become exceptions, so that everything is put away first."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


class Terminated(BaseException):
    """The system asks this process to end: SIGTERM."""


def end_quietly() -> None:
    """Let Ctrl-C end the process at once, while a command is still being imported: no traceback.

    Where Ctrl-C is ignored, as in the background of a shell's script, that stays.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def as_exceptions() -> Iterator[None]:
    """Raise KeyboardInterrupt for Ctrl-C and Terminated for SIGTERM inside the `with` block.

    Only the main thread of a program can do so; in another, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupt, terminate = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        if interrupt is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if terminate is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _terminate)
        yield
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)


def ignore_more() -> None:
    """Let one Ctrl-C be enough: a second one could only interrupt the tidying up."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def die_of_sigterm() -> NoReturn:
    """End as a process without a handler for SIGTERM does: who sent it sees that it worked."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    raise SystemExit(128 + signal.SIGTERM)  # Windows, where the signal may come later


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
