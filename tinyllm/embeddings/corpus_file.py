"""Text to learn words from: a file of any size, read as it streams."""

import bz2
import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from tinyllm.embeddings.wikitext import dump_lines, is_dump
from tinyllm.errors import UsageError
from tinyllm.shown import plain

LONGEST_LINE = 2**20  # characters; a longer line is read as several
MOST_CHARACTERS = 2**34


@contextmanager
def open_corpus(path: Path) -> Iterator[Iterator[str]]:
    """Open a text in UTF-8, or a MediaWiki dump, each perhaps compressed by bzip2: its lines.

    Raises UsageError, also while lines are read, for what is no such file.
    """
    try:
        if not (path.is_file() or path.is_fifo()):
            raise UsageError(f"{plain(path)}: {_not_a_file(path)}; expected a text file")
        with path.open("rb") as file:
            yield corpus_lines(file, plain(path))
    except UsageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise UsageError(f"{plain(path)}: cannot be read: {error}") from error


def _not_a_file(path: Path) -> str:
    if path.is_dir():
        return "is a folder"
    return "is no regular file" if path.exists() else "no such file"


def corpus_lines(file: BinaryIO, where: str) -> Iterator[str]:
    """Yield the lines of an open file (see `open_corpus`); `where` names it in errors."""
    start = file.read(3)
    rest: BinaryIO = io.BufferedReader(_Rejoined(start, file))  # type: ignore[type-var]
    if start == b"BZh":
        rest = bz2.BZ2File(rest)  # type: ignore[assignment]
    lines = _lines(rest, where)
    first = next((line for line in lines if line.strip()), "")
    lines = chain([first], lines)
    yield from dump_lines(lines) if is_dump(first) else lines


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        content = self._start or self._rest.read(len(buffer))
        content, self._start = content[: len(buffer)], content[len(buffer) :]
        buffer[: len(content)] = content
        return len(content)


def _lines(file: BinaryIO, where: str) -> Iterator[str]:
    text, number, size = io.TextIOWrapper(file, encoding="utf-8-sig"), 0, 0
    try:
        while line := text.readline(LONGEST_LINE):
            number, size = number + 1, size + len(line)
            if size > MOST_CHARACTERS:
                raise UsageError(f"{where}: has more than {MOST_CHARACTERS:,} characters")
            yield line
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: is not UTF-8, soon after line {number}") from error
    except EOFError as error:
        raise UsageError(f"{where}: is cut short: the bzip2 data has no end") from error
    except OSError as error:
        raise UsageError(f"{where}: cannot be read: {error}") from error
    finally:
        text.detach()
