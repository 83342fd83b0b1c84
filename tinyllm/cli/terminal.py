"""What a person at a terminal sees beside the answer, all of it on stderr."""

import contextlib
import os
import re
import shutil
import sys
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Messages:
    """Lines that stay, below them one line that says what is going on and is wiped again.

    The latter is for a terminal alone, unless verbose: then it stays, wherever it goes. A closed
    stderr hears nothing.
    """

    def __init__(self) -> None:
        self.quiet = self.verbose = False
        self._width = 0

    def status(self, text: str) -> None:
        """Replace the line that is wiped, cut to the width of the terminal."""
        if self.verbose:
            self.say(text)
        elif not self.quiet and is_terminal(sys.stderr):
            text = _one_line(text)[: shutil.get_terminal_size().columns - 1]
            self._write("\r" + text.ljust(self._width))
            self._width = len(text)

    def clear(self) -> None:
        """Wipe the line; spaces do it on a terminal that knows no escape codes, too."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def say(self, text: str) -> None:
        """Print one line, whatever the text holds."""
        self.clear()
        self._write(_one_line(text) + "\n")

    def note(self, text: str) -> None:
        """Print one line unless --quiet."""
        if not self.quiet:
            self.say(text)

    def _write(self, text: str) -> None:
        if sys.stderr is not None:
            try:
                sys.stderr.write(text)
                sys.stderr.flush()
            except OSError:
                forget(sys.stderr)


def forget(stream: Any) -> None:
    """Drop what a stream cannot write, or Python complains of it when it exits."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str) -> str:
    """Show control characters but newline and tab as escapes: they could command a terminal.

    >>> printable("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _one_line(text: str) -> str:
    return " ".join(printable(text).splitlines())


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
    """Return ", 41.2 tok/s", say; "" where nothing was timed."""
    return f", {tokens / seconds:.1f} tok/s" if tokens > 0 and seconds > 0 else ""
