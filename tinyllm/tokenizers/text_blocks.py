"""Read a file of text in blocks that words do not cross: a large one need not fit in memory."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from tinyllm.errors import UsageError
from tinyllm.files import not_a_file
from tinyllm.shown import plain

BLOCK = 2**20  # bytes
LONGEST = 2**24  # characters without a place to cut; no text has so many

# No pre-tokenizer of `byte_level_training` has a word with a letter before a space in it, or with a
# line break between a letter and what is no white space.
_UP_TO_THE_LAST_CUT = re.compile(r"(?s:.*)(?:(?<=\w)(?= )|(?<=\S\n)(?=\w))")


def text_blocks(path: Path, *, size: int = BLOCK) -> Iterator[str]:
    """Yield the text of a UTF-8 file, in blocks of about `size` bytes that end where words end.

    Raises UsageError where the file cannot be read, is not UTF-8, or is one endless word.
    """
    if not path.is_file():
        raise UsageError(f"{plain(path)}: {not_a_file(path)}")
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest, done = "", 0
    try:
        with path.open("rb") as file:
            while content := file.read(size):
                rest += decoder.decode(content)
                done += len(content)
                if cut := _UP_TO_THE_LAST_CUT.match(rest):
                    yield cut[0]
                    rest = rest[cut.end() :]
                if len(rest) > LONGEST:
                    raise UsageError(
                        f"{plain(path)}: has {len(rest):,} characters without a space or line"
                        f" break up to byte {done:,}; that is no text"
                    )
            rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError as cause:
        start = done + len(content) - len(cause.object) + cause.start
        raise UsageError(f"{plain(path)}: is not UTF-8 at byte {start}") from cause
    except OSError as cause:
        raise UsageError(f"{plain(path)}: cannot be read: {cause.strerror or cause}") from cause
    if rest:
        yield rest
