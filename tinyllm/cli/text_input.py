"""A prompt as the user gives it: an argument, a file or standard input, byte for byte."""

import argparse
import re
import sys
from pathlib import Path

from tinyllm.cli.terminal import is_terminal
from tinyllm.errors import UsageError
from tinyllm.files import read_bytes
from tinyllm.shown import plain

LONGEST = 64 * 2**20  # bytes; far above any model's context


def add_prompt(parser: argparse.ArgumentParser, what: str = "the text to continue") -> None:
    """Add the ways to give a prompt; `what` explains it."""
    group = parser.add_argument_group("prompt")
    group.add_argument("text", nargs="?", metavar="PROMPT", help=f"{what}; - reads standard input")
    group.add_argument("--prompt", "-p", metavar="TEXT", help="the same")
    group.add_argument("--prompt-file", "-f", metavar="PATH", help="the text in a UTF-8 file")
    group.add_argument(
        "--escape", "-e", action="store_true", help=r"read \n, \t, \\ and \uXXXX in the prompt"
    )


def read_prompt(args: argparse.Namespace) -> str:
    """Return the prompt. Raises UsageError where there is none, more than one, or no UTF-8."""
    given = [x for x in (args.text, args.prompt, args.prompt_file) if x is not None]
    if len(given) > 1:
        raise UsageError("give one prompt: as an argument, with --prompt, or with --prompt-file")
    if args.prompt_file is not None:
        text = read_text_file(Path(args.prompt_file))
    elif not given or given == ["-"]:
        text = _read_stdin(asked=bool(given))
    else:
        text = str(given[0])
    return unescape(text) if args.escape else text


def read_text_file(path: Path) -> str:
    """Read UTF-8 from a file, or a pipe, as a shell's <(command) is one.

    Raises UsageError where it cannot be read, is larger than LONGEST, or is not UTF-8: where.
    """
    return _decode(_read_file(path), plain(path))


def _read_file(path: Path) -> bytes:
    if not path.is_fifo() and not path.is_char_device():
        return read_bytes(path, UsageError, LONGEST)
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise UsageError(f"{plain(path)}: cannot be read: {error.strerror or error}") from error
    if len(content) > LONGEST:
        raise UsageError(f"{plain(path)}: gives more than {LONGEST} bytes")
    return content


def _read_stdin(*, asked: bool) -> str:
    if sys.stdin is None:
        raise UsageError("there is no prompt, and standard input is closed")
    if not asked and is_terminal(sys.stdin):
        raise UsageError("there is no prompt: give one in quotes, or - to type it until Ctrl-D")
    try:
        content = sys.stdin.buffer.read(LONGEST + 1)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror or error}") from error
    if len(content) > LONGEST:
        raise UsageError(f"standard input is longer than {LONGEST} bytes")
    return _decode(content, "standard input")


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: is not UTF-8 at byte {error.start}") from error


def separator(text: str) -> str:
    r"""Read what stands between documents, as the value of a flag.

    >>> separator(r"\n--\n")
    '\n--\n'
    """
    if not text:
        raise argparse.ArgumentTypeError("is empty; expected the text between two documents")
    return unescape(text)


def unescape(text: str) -> str:
    r"""Read escapes: \n, \t, \r, \\ and \uXXXX; anything else stays as it is.

    >>> unescape(r"a\nb \d \\n \u00e9")
    'a\nb \\d \\n é'
    """
    named = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
    return re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|([ntr\\]))",
        lambda m: chr(int(m[1], 16)) if m[1] else named[m[2]],
        text,
    )
