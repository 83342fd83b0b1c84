"""Run a command: one line for every mistake, the right exit code, only answers on stdout.

    0 done    1 a check failed    2 usage, or a bad file    3 backend not available    130 Ctrl-C

A reader who closes the pipe early (`| head -1`) ends the command in peace, with 0.
"""

import argparse
import contextlib
import difflib
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tinyllm.cli import interrupts
from tinyllm.cli.out_of_memory import out_of_memory
from tinyllm.cli.terminal import Messages, forget, is_terminal
from tinyllm.errors import BackendUnavailableError, TinyllmError, UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and complains in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, with the way out."""
        if near := self._near(message):
            message += f"; did you mean {near}?"
        elif "expected one argument" in message or "unrecognized arguments: -" in message:
            message += "; a value that begins with - is written --option=-value"
        elif "unrecognized arguments" in message:
            message += "; a text of several words needs quotes"
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _near(self, message: str) -> str | None:
        """Return the flag that an unknown one is a misspelling of, perhaps."""
        _, _, words = message.partition("unrecognized arguments: ")
        flags = [word.partition("=")[0] for word in words.split() if word.startswith("--")]
        found = difflib.get_close_matches(flags[0], self._option_string_actions) if flags else []
        return found[0] if found else None

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Leave after --help or --version; what cannot be written shows now, not after the end."""
        if sys.stdout is not None:
            sys.stdout.flush()
        super().exit(status, message)


def run_command(
    parser: Parser,
    body: Callable[[argparse.Namespace, Messages], int],
    argv: Sequence[str] | None,
) -> int:
    """Parse `argv` and run `body`; return the exit code.

    The parser must have the flags of `arguments.add_common`. `args.given` has the names of those
    that say something else than their defaults.
    """
    messages, debug = Messages(), False
    _use_utf8()
    with warnings.catch_warnings(), interrupts.as_exceptions():
        # What overflows shows in results, which are checked where it matters.
        warnings.filterwarnings("ignore", ".* encountered in ", RuntimeWarning)
        warnings.showwarning = lambda message, *_: messages.note(f"note: {message}")
        try:
            args = parser.parse_args(argv)
            messages.quiet, messages.verbose, debug = args.quiet, args.verbose, args.debug
            args.given = frozenset(k for k, v in vars(args).items() if v != parser.get_default(k))
            code = body(args, messages)
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            interrupts.ignore_more()
            _end_the_line()
            return 130
        except interrupts.Terminated:
            _end_the_line()
            interrupts.die_of_sigterm()
        except BrokenPipeError:
            forget(sys.stdout)
            return 0
        except RuntimeError as error:
            if debug or not type(error).__module__.startswith("cupy"):
                raise
            messages.say(
                f"error: the GPU failed: {' '.join(str(error).split())}; python -m tinyllm doctor "
                f"says what it finds"
            )
            return BackendUnavailableError.exit_code
        except (TinyllmError, MemoryError, OSError) as error:
            if debug and sys.stderr is not None:
                traceback.print_exc()
            messages.say(f"error: {_reason(error)}")
            if isinstance(error, OSError):
                forget(sys.stdout)
            return error.exit_code if isinstance(error, TinyllmError) else UsageError.exit_code


def _reason(error: Exception) -> str:
    """Say what is wrong, in the words of a user."""
    match error:
        case MemoryError():
            return out_of_memory(error)
        case OSError():  # files raise TinyllmError: this is the output
            return f"cannot write the output: {error.strerror or error}"
    return str(error)


def _use_utf8() -> None:
    """Write UTF-8 whatever the locale says: text must come through a C locale and cp1252 alike."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace", newline="\n")


def _end_the_line() -> None:
    """After Ctrl-C in the middle of an answer, leave the prompt of the shell its own line."""
    for stream in (sys.stdout, sys.stderr):
        if is_terminal(stream):
            with contextlib.suppress(OSError):
                stream.write("\n")
                stream.flush()
            return
