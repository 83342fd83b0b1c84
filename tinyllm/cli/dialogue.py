"""Messages as a person types them, or as a pipe brings them."""

import contextlib
import sys
from collections.abc import Iterable, Iterator

from tinyllm.cli import color
from tinyllm.cli.terminal import is_terminal
from tinyllm.cli.text_input import LONGEST
from tinyllm.errors import UsageError

SEND = "/send"


def lines(prompt: str, *, colored: bool = False) -> Iterator[str]:
    """Yield line by line, without its end; the prompt is for a person only.

    With a terminal on both sides a line can be edited, where Python has readline. Ends at the end
    of the input, which is Ctrl-D. Raises UsageError for what is not UTF-8.
    """
    edited = is_terminal(sys.stdin) and is_terminal(sys.stdout)
    if edited:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (input() uses it once it is imported)

            if colored:  # readline has to know which characters take no room
                prompt = f"\1\x1b[{color.GREEN}m\2{prompt}\1\x1b[0m\2"
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")  # type: ignore[union-attr]
    while True:
        try:
            line = input(prompt) if edited else _read_line(prompt)
        except EOFError:
            if edited:
                sys.stdout.write("\n")
            return
        except UnicodeDecodeError as error:
            raise UsageError(f"standard input: is not UTF-8 at byte {error.start}") from error
        yield line


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Join lines to messages that end before a line with /send; commands stay alone.

    >>> list(paragraphs(["a", "b", "/send", "/help", "c"]))
    ['a\\nb', '/help', 'c']
    """
    held: list[str] = []
    for line in lines:
        if line.strip() == SEND:
            yield "\n".join(held)
            held = []
        elif not held and line.startswith("/"):
            yield line
        else:
            held.append(line)
    if held:
        yield "\n".join(held)


def _read_line(prompt: str) -> str:
    if is_terminal(sys.stdin) and sys.stderr is not None:  # the answers go elsewhere
        sys.stderr.write(prompt)
        sys.stderr.flush()
    try:
        line = sys.stdin.buffer.readline(LONGEST + 1)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror or error}") from error
    if not line:
        raise EOFError
    if len(line) > LONGEST:
        raise UsageError(f"standard input has a line longer than {LONGEST} bytes")
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
