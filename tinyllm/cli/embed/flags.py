"""What the parts share: the file of vectors, numbers in a range, rows of an answer."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli.terminal import Messages, is_terminal, printable
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.embeddings import WordVectors


def add_vectors(parser: argparse.ArgumentParser) -> None:
    """Add the flag that names word vectors."""
    parser.add_argument(
        "--vectors", "-m", required=True, type=Path, metavar="FILE",
        help="word vectors: a .safetensors of embed train, or word2vec's or GloVe's text format",
    )  # fmt: skip


def read_vectors(args: argparse.Namespace, messages: Messages) -> "WordVectors":
    """Load the vectors that the flag names."""
    from tinyllm.embeddings import load_vectors

    messages.status(f"reading {args.vectors} …")
    return load_vectors(args.vectors)


def check_output() -> None:
    """Raise UsageError where standard output is closed."""
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the answer")


def at_least(flag: str, value: int, least: int = 1) -> int:
    """Return a whole number. Raises UsageError where it is too small."""
    if value < least:
        raise UsageError(f"{flag} is {value}, expected at least {least}")
    return value


def write_lines(lines: Iterable[str]) -> None:
    """Print an answer; on a terminal, nothing in it is obeyed."""
    show = printable if is_terminal(sys.stdout) else str
    sys.stdout.writelines(show(line) + "\n" for line in lines)


def write_json(value: Any) -> None:
    """Print one JSON object in one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
