"""Ctrl-C and SIGTERM that wait until a step is whole."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any


@contextmanager
def signals_wait(*, quiet: bool) -> Iterator[Callable[[], None]]:
    """Hold signals back for the `with` block; give a function that lets one that came act.

    A second Ctrl-C acts at once. Only the main thread of a program can do so; in another, nothing
    is changed.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            act()
        came.append(number)
        if not quiet:  # not by print, in whose middle the signal may have come
            with suppress(OSError):
                os.write(2, b"\nstopping after this step\n")

    def act() -> None:
        if came:
            signal.signal(came[0], before[came[0]])
            signal.raise_signal(came[0])

    for number in before:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield act
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
