"""What a person at a terminal sees beside the answer, all of it on stderr."""

import contextlib
import os
import sys


class Status:
    """One line that says what is going on and is wiped when the answer comes.

    Silent where stderr is not a terminal.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._on = not quiet and is_terminal(sys.stderr)
        self._width = 0

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._on:
            with contextlib.suppress(OSError):
                sys.stderr.write("\r" + text.ljust(self._width))
                sys.stderr.flush()
            self._width = len(text)

    def clear(self) -> None:
        """Wipe the line; spaces do it on a terminal that knows no escape codes, too."""
        if self._width:
            self.show("")
            with contextlib.suppress(OSError):
                sys.stderr.write("\r")
                sys.stderr.flush()
            self._width = 0


def is_terminal(stream: object) -> bool:
    """Whether a person watches this stream."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())


def peak_memory() -> str:
    """Return the most memory this process has had, as text; "" where the system does not tell."""
    if os.name != "posix":
        return ""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = peak * (1 if sys.platform == "darwin" else 1024)
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def speed(tokens: int, seconds: float) -> str:
    """Return tokens and tokens per second, as text."""
    return f"{tokens} tok, {tokens / seconds:.1f} tok/s" if seconds > 0 else f"{tokens} tok"
