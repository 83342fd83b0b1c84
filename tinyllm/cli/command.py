"""Run a command: one line for every mistake, the right exit code, only answers on stdout.

    0 done    1 a check failed    2 usage, or a bad file    3 backend not available    130 Ctrl-C

A reader who closes the pipe early (`| head -1`) ends the command in peace, with 0.
"""

import argparse
import contextlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tinyllm.errors import TinyllmError, UsageError

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and complains in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, with the way out."""
        if "expected one argument" in message:
            message += "; a value that begins with - is written --option=-value"
        raise UsageError(f"{message} (see {self.prog} --help)")


def run_command(
    parser: Parser, body: Callable[[argparse.Namespace], int], argv: Sequence[str] | None
) -> int:
    """Parse `argv` and run `body`; return the exit code.

    The parser must have the flags of `arguments.add_common`.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    quiet, debug = "--quiet" in words or "-q" in words, "--debug" in words
    _use_utf8()
    warnings.showwarning = lambda message, *_: None if quiet else _to_stderr(f"note: {message}")
    try:
        try:
            args = parser.parse_args(words)
            code = body(args)
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        except BrokenPipeError:
            _drop_stdout()
            return 0
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                _end_the_line()
            return 130
        except OSError as error:  # files raise TinyllmError: this is the output
            _drop_stdout()
            raise UsageError(f"cannot write the output: {error.strerror or error}") from error
        except MemoryError as error:
            raise UsageError(f"not enough memory: {error}") from error
    except TinyllmError as error:
        if debug:
            raise
        _to_stderr(f"error: {error}")
        return error.exit_code


def _use_utf8() -> None:
    """Write UTF-8 whatever the locale says: text must come through a C locale and cp1252 alike."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace", newline="\n")


def _drop_stdout() -> None:
    """Forget what is still buffered, or Python complains of the closed pipe when it exits."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_the_line() -> None:
    """After Ctrl-C in the middle of an answer, leave the prompt of the shell its own line."""
    if sys.stdout is not None:
        if sys.stdout.isatty():
            sys.stdout.write("\n")
        sys.stdout.flush()


def _to_stderr(line: str) -> None:
    """Print one line, whatever the message holds. A closed stderr hears nothing."""
    with contextlib.suppress(OSError, AttributeError):
        print(" ".join(printable(line).splitlines()), file=sys.stderr)


def printable(text: str) -> str:
    """Show control characters but newline and tab as escapes: they could command a terminal.

    >>> printable("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
