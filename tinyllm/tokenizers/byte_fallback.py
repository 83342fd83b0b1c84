"""BPE with byte fallback (Llama-1/2, Mistral): characters join into pieces, others become bytes.

Kudo and Richardson 2018, "SentencePiece" (arXiv:1808.06226). The text is one long word: a space is
a character like others, written ▁, and most pieces begin with it.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.merging import Rank, merge
from tinyllm.tokenizers.tokenizer import EncodeWord

SPACE = "▁"
_WORD = re.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+")
_CACHED_WORDS, _CACHED_LENGTH = 65_536, 32


def byte_piece(byte: int) -> str:
    """The piece that stands for one byte, as in <0x0A>."""
    return f"<0x{byte:02X}>"


BYTE_PIECES = {byte_piece(byte): byte for byte in range(256)}


def piece_bytes(piece: str) -> bytes:
    """The text that a piece stands for, as UTF-8."""
    byte = BYTE_PIECES.get(piece)
    return piece.replace(SPACE, " ").encode() if byte is None else bytes([byte])


def first_piece_bytes(piece: str) -> bytes:
    """The text that a piece stands for behind the space that encoding puts before each text."""
    return piece_bytes(piece).removeprefix(b" ")


def byte_ids(path: Path, ids: dict[str, int]) -> list[int]:
    """The ids of the 256 byte pieces. Raises TokenizerError where one is missing."""
    missing = [piece for piece in BYTE_PIECES if piece not in ids]
    if missing:
        raise TokenizerError(
            f"{path}: byte fallback needs the 256 pieces <0x00> to <0xFF>;"
            f" {len(missing)} are missing, the first is {missing[0]}"
        )
    return [ids[piece] for piece in BYTE_PIECES]


def word_encoder(
    ids: dict[str, int],
    bytes_: list[int],
    rank: Rank,
    resplit: Callable[[str], Iterable[str]] | None = None,
) -> EncodeWord:
    """Return the function from a text to ids: merge its characters, then look up what is left.

    `ids` holds the pieces that text may become, `bytes_` the ids of the 256 bytes, for characters
    that are not in it; `resplit` may take a merged piece apart again.
    """

    def encode(text: str) -> list[int]:
        found = []
        for merged in merge(text, rank):
            for piece in resplit(merged) if resplit else (merged,):
                if piece in ids:
                    found.append(ids[piece])
                else:
                    found.extend(bytes_[byte] for byte in piece.encode())
        return found

    if resplit or any(SPACE in piece.lstrip(SPACE) for piece in ids):
        return encode
    remembered = lru_cache(_CACHED_WORDS)(encode)

    def encode_by_words(text: str) -> list[int]:
        """No piece has a ▁ behind another character, so nothing joins across words: a shortcut."""
        found = []
        for word in _WORD.findall(text):
            found.extend(remembered(word) if len(word) <= _CACHED_LENGTH else encode(word))
        return found

    return encode_by_words
