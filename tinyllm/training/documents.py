"""A text file as documents, read in pieces: the file may be larger than memory."""

import codecs
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from tinyllm.errors import UsageError
from tinyllm.shown import plain

MARKER = "<|endoftext|>"  # what stands between the documents of many corpora
PIECE = 2**20  # bytes that are read at once, and characters of a document after which it is cut


def read_text(path: Path) -> Iterator[str]:
    """Yield a UTF-8 file in pieces.

    Raises UsageError where there is no such regular file, it is empty, or is not UTF-8: where.
    """
    if not path.is_file():  # a pipe cannot be read twice, and a folder not at all
        what = "is not a regular file" if path.exists() else "no such file"
        raise UsageError(f"{plain(path)}: {what}; expected a text to train on")
    decoder, read = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        with path.open("rb") as file:
            while content := file.read(PIECE):
                yield _decode(decoder, content, path, read)
                read += len(content)
            yield _decode(decoder, b"", path, read, final=True)
    except OSError as error:
        raise UsageError(f"{plain(path)}: cannot be read: {error.strerror or error}") from error
    if read == 0:
        raise UsageError(f"{plain(path)}: is empty; expected a text to train on")


def _decode(
    decoder: codecs.IncrementalDecoder, content: bytes, path: Path, read: int, final: bool = False
) -> str:
    """Decode what follows `read` bytes, and those of a character that were held back."""
    held = len(decoder.getstate()[0])
    try:
        return decoder.decode(content, final)
    except UnicodeDecodeError as error:
        at = read - held + error.start
        raise UsageError(f"{plain(path)}: is not UTF-8 at byte {at}") from error


def lines(text: str) -> list[str]:
    r"""Return the lines of a text that has a source, or a target, on each.

    A line ends with \n, or \r\n, and with no other character: a page feed, or a line separator of
    Unicode, stays in its line, lest it stand in one of two files and not in the other.

    >>> lines("one\r\ntwo\u2028still two\n\n")
    ['one', 'two\u2028still two', '']
    """
    *whole, last = text.split("\n")
    return [line.removesuffix("\r") for line in (*whole, *filter(None, [last]))]


def split_documents(pieces: Iterable[str], separator: str | None) -> Iterator[tuple[str, bool]]:
    """Yield documents in parts, each with whether its document ends there.

    Documents are what stands between separators, without the line breaks at their ends; a blank one
    is none. Without a separator all is one document, and stays as it is; a MARKER in it is warned
    of. A part has at most twice PIECE characters, and ends where a line or a word does, if it can.

    >>> list(split_documents(["one--tw", "o-", "-\\n--three\\n"], "--"))
    [('one', True), ('two', True), ('three', True)]
    """
    rest, inside, outer = "", False, "\n" if separator else ""  # str.strip("") strips nothing
    told = separator is not None
    for piece in pieces:
        if not told and (told := MARKER in rest + piece):
            warnings.warn(prose(f"--separator '{MARKER}' parts documents there"), stacklevel=2)
        *whole, rest = (rest + piece).split(separator) if separator else [rest + piece]
        for text in whole:
            yield from _last(text.rstrip(outer), inside, outer)
            inside = False
        while len(rest) > PIECE + len(separator or ""):  # which may have begun, and must not be cut
            rest = rest if inside else rest.lstrip(outer)
            at = _seam(rest)
            if at:
                yield rest[:at], False
                rest, inside = rest[at:], True
    yield from _last(rest.rstrip(outer), inside, outer)


def prose(way_out: str) -> str:
    """Say that the marker between documents is read as text, and the way out."""
    return f"the text has {MARKER}, which is read as prose: {way_out}"


def _last(text: str, inside: bool, outer: str) -> Iterator[tuple[str, bool]]:
    """Yield the last part of a document; nothing if it is its only one, and blank."""
    text = text if inside else text.lstrip(outer)
    if inside or text.strip():
        yield text, True


def _seam(text: str) -> int:
    """Return where a part may end: behind a line, before a space, or where it must."""
    line = text.rfind("\n", PIECE // 2, PIECE) + 1
    return line or max(text.rfind(" ", PIECE // 2, PIECE), 0) or min(PIECE, len(text))
