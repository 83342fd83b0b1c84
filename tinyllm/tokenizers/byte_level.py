"""Byte-level BPE (GPT-2, NeoX, Llama-3, Qwen): the UTF-8 bytes of a word join into tokens.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2. Files write
each byte as a character of its own, so that a piece is readable text: Ġthe is " the".
"""

import re
from collections.abc import Callable, Container
from functools import lru_cache
from pathlib import Path

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.added_tokens import AddedToken
from tinyllm.tokenizers.merge_order import Pairs, piece_ranks
from tinyllm.tokenizers.merging import merge
from tinyllm.tokenizers.tokenizer import EncodeWord

_HALF_CHARACTER = re.compile("[\udc80-\udcff]")  # tiktoken takes text, and would replace it
_CACHED_WORDS, _CACHED_LENGTH = 65_536, 32
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_NEVER = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that no UTF-8 has

# Printable bytes are the characters of their number, the others come behind U+00FF in order.
ALPHABET = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(0x100 + i) for i, byte in enumerate(_OTHERS)
}
_SPELLING = re.compile(f"[{re.escape(''.join(ALPHABET.values()))}]+")
_BYTES = {character: byte for byte, character in ALPHABET.items()}


def spell(content: bytes) -> str:
    """Write bytes in the alphabet of pieces."""
    return content.decode("latin-1").translate(ALPHABET)


def piece_bytes(piece: str) -> bytes:
    """Read a piece as bytes; one with other characters than the alphabet's is plain text."""
    try:
        return bytes(map(_BYTES.__getitem__, piece))
    except KeyError:
        return piece.encode()


def word_bytes(word: str) -> bytes:
    """The bytes of a word; a byte of a character cut in two is a surrogate, as in PEP 383."""
    return word.encode("utf-8", "surrogateescape")


def shown_as(own: Container[str]) -> Callable[[str], bytes]:
    """Return the function from a piece to its bytes in a text.

    An added token, which is not among the vocabulary's `own` pieces, is plain text, also where each
    of its characters could stand for a byte.
    """
    return lambda piece: piece_bytes(piece) if piece in own else piece.encode()


def pieces_of_text(path: Path, own: dict[str, int], added: dict[str, AddedToken]) -> dict[str, int]:
    """Leave out the pieces that no text becomes: special tokens, and other letters than bytes have.

    Raises TokenizerError where a byte that a text can have is left without a piece.
    """
    special = {token.content for token in added.values() if token.special}
    ids = {
        piece: id_
        for piece, id_ in own.items()
        if piece not in special and _SPELLING.fullmatch(piece)
    }
    missing = [byte for byte in range(256) if byte not in _NEVER and ALPHABET[byte] not in ids]
    if missing:
        raise TokenizerError(
            f"{path}: byte-level BPE needs a piece of text for every byte; {len(missing)} are"
            f" missing, the first is {ALPHABET[missing[0]]!r} for the byte {missing[0]}"
        )
    return ids


def word_encoder(ids: dict[str, int], pairs: Pairs, whole_words: bool) -> EncodeWord:
    """Return the function from a word to ids that joins `pairs` in their order.

    `ids` holds the pieces that text may become. With `whole_words` a word that is a piece is that
    piece, whatever its merges would make of it.
    """
    pairs = {
        (left, right): rank
        for (left, right), rank in pairs.items()
        if left in ids and right in ids and left + right in ids
    }
    ranks = piece_ranks(pairs, whole_words)

    def join(word: str) -> list[int]:
        return [ids[piece] for piece in merge(spell(word_bytes(word)), by_pair)]

    def by_pair(left: str, right: str) -> int | None:
        return pairs.get((left, right))

    join_text = join if ranks is None else _ranks_encoder(ids, ranks)

    def encode(word: str) -> list[int]:
        if whole_words and (id_ := ids.get(spell(word_bytes(word)))) is not None:
            return [id_]
        return join(word) if _HALF_CHARACTER.search(word) else join_text(word)

    return remember_short_words(encode)


def _ranks_encoder(ids: dict[str, int], ranks: dict[str, int]) -> EncodeWord:
    """Join by tiktoken, whose ranks are not the ids: RoBERTa numbers its tokens by frequency."""
    singles = [ALPHABET[byte] for byte in range(256)]
    pieces = [*singles, *ranks]  # a piece's place is the rank that tiktoken sees
    encode = rank_encoder({piece_bytes(piece): rank for rank, piece in enumerate(pieces)})
    table = [ids.get(piece, -1) for piece in pieces]  # -1: a byte that no text has
    return lambda word: [table[rank] for rank in encode(word)]


def rank_encoder(ranks: dict[bytes, int]) -> EncodeWord:
    """Return tiktoken's function from a word to ranks; every single byte must have one.

    It joins the pair whose joined bytes have the lowest rank, and a word that has a rank is left
    whole.
    """
    import tiktoken

    encoding = tiktoken.Encoding(
        "tinyllm", pat_str=r"[\s\S]+", mergeable_ranks=ranks, special_tokens={}
    )
    return encoding.encode_ordinary


def remember_short_words(encode: EncodeWord) -> EncodeWord:
    """Keep the ids of short words: a text has the same ones again and again."""
    remembered: Callable[[str], list[int]] = lru_cache(_CACHED_WORDS)(encode)
    return lambda word: remembered(word) if len(word) <= _CACHED_LENGTH else encode(word)
