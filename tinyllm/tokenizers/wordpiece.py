"""WordPiece: the longest piece that begins a word, then the longest that continues it, to its end.

Wu et al. 2016, "Google's Neural Machine Translation System" (arXiv:1609.08144), section 4.1. A
piece inside a word is written with a prefix, ## in BERT.
"""

from collections.abc import Callable, Container
from functools import lru_cache
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.tokenizer import EncodeWord

_CACHED_WORDS, _CACHED_LENGTH = 65_536, 32
_MOST_CHARACTERS = 1000  # of a word; BERT has 100
# In this order, as the decoder of huggingface/tokenizers has them (src/decoders/wordpiece.rs).
_CLEANED_UP = [(f" {mark}", mark) for mark in ".?!,"] + [
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
]


def wordpiece_encoder(
    own: dict[str, int], prefix: str, unknown: int, longest_word: int
) -> Callable[[Container[str]], EncodeWord]:
    """Return the function from tokens that are no words to `word_encoder` with the other pieces."""

    def encoder(added: Container[str]) -> EncodeWord:
        text = {piece: id_ for piece, id_ in own.items() if piece not in added}
        return word_encoder(text, prefix, unknown, longest_word)

    return encoder


def word_encoder(ids: dict[str, int], prefix: str, unknown: int, longest_word: int) -> EncodeWord:
    """Return the function from a word to ids: all its pieces, or `unknown` alone.

    A word of more than `longest_word` characters is unknown, and so is one that no pieces make up.
    No piece is longer than the longest of `ids`, which bounds the work for each character.
    """
    continuing = {
        piece.removeprefix(prefix): id_ for piece, id_ in ids.items() if piece.startswith(prefix)
    }
    longest = max(map(len, ids), default=0)

    def encode(word: str) -> list[int]:
        if len(word) > longest_word:
            return [unknown]
        found: list[int] = []
        begin, pieces = 0, ids
        while begin < len(word):
            for end in range(min(len(word), begin + longest), begin, -1):
                id_ = pieces.get(word[begin:end])
                if id_ is not None:
                    break
            else:
                return [unknown]
            found.append(id_)
            begin, pieces = end, continuing
        return found

    remembered = lru_cache(_CACHED_WORDS)(encode)
    return lambda word: remembered(word) if len(word) <= _CACHED_LENGTH else encode(word)


def check_word_length(path: Path, value: Any) -> int:
    """Check `max_input_chars_per_word`. Raises TokenizerError where it is no sensible integer."""
    if type(value) is not int or not 0 < value <= _MOST_CHARACTERS:
        raise TokenizerError(
            f"{path}: max_input_chars_per_word is {str(value)[:40]}; expected an integer from 1 to"
            f" {_MOST_CHARACTERS}"
        )
    return value


def piece_bytes(prefix: str, cleanup: bool) -> Callable[[str], bytes]:
    """Return the function from a piece to its text: a space before it, unless it continues a word.

    `cleanup` takes the space from before punctuation and short forms, as `first_piece_bytes` does.
    """

    def convert(piece: str) -> bytes:
        text = piece.removeprefix(prefix) if piece.startswith(prefix) else f" {piece}"
        return (_clean_up(text) if cleanup else text).encode()

    return convert


def first_piece_bytes(cleanup: bool) -> Callable[[str], bytes]:
    """Return the function from a piece to its text at the start: even a prefix is shown there."""
    return lambda piece: (_clean_up(piece) if cleanup else piece).encode()


def _clean_up(text: str) -> str:
    for old, new in _CLEANED_UP:
        text = text.replace(old, new)
    return text
