"""SentencePiece's way from a text to what its model reads: replace characters, then treat spaces.

Facts: google/sentencepiece, src/normalizer.cc.
"""

from collections.abc import Collection, Iterator

from tinyllm.tokenizers.byte_fallback import SPACE
from tinyllm.tokenizers.prefixes import Lengths, lengths_by_first
from tinyllm.tokenizers.sentencepiece_vocabulary import PieceType, SentencePieceVocabulary
from tinyllm.tokenizers.tokenizer import Normalize


def sentencepiece_normalizer(vocabulary: SentencePieceVocabulary) -> Normalize:
    """Return the function that a vocabulary's file describes.

    The longest string that begins at a place counts, a user-defined piece, which stays as it is,
    before one that is replaced. Space is U+0020 alone, as it is or out of a replacement.
    """
    space = SPACE if vocabulary.escape_whitespaces else " "
    removes = vocabulary.remove_extra_whitespaces
    characters = vocabulary.characters
    kept = vocabulary.of_type(PieceType.USER_DEFINED)
    lengths = lengths_by_first(kept)

    def replaced(text: str) -> Iterator[str]:
        """Cut the text where it is replaced, from the left, and replace it."""
        at = 0
        while at < len(text):
            length = _longest(text, at, kept, lengths)
            found = characters.longest(text, at) if characters and not length else None
            length, part = found or (length or 1, text[at : at + (length or 1)])
            yield part
            at += length

    def normalize(text: str) -> str:
        parts = replaced(text) if kept or characters else text
        joined = "".join(_without_extra_spaces(parts) if removes else parts)
        if text and vocabulary.add_dummy_prefix:
            joined = " " + joined
        joined = joined.replace(" ", space)
        return joined.rstrip(space) if removes else joined

    return normalize


def _longest(text: str, at: int, strings: Collection[str], lengths: Lengths) -> int:
    """The length of the longest of the strings that begins at `at`, or 0."""
    for length in reversed(lengths.get(text[at], ())):
        if text[at : at + length] in strings:
            return length
    return 0


def _without_extra_spaces(parts: Iterator[str] | str) -> Iterator[str]:
    """Drop the spaces at the start of parts that follow one, or that nothing stands before.

    Spaces within one part stay.
    """
    behind_space = True
    for part in parts:
        left = part.lstrip(" ") if behind_space else part
        if left:
            yield left
            behind_space = left.endswith(" ")
