"""What SentencePiece's file says: pieces with scores and types, and how a text is normalized."""

from dataclasses import dataclass
from enum import IntEnum

from tinyllm.tokenizers.character_map import CharacterMap


class PieceType(IntEnum):
    """What a piece is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3  # never comes out of text
    USER_DEFINED = 4  # always stands for itself in text
    UNUSED = 5  # joins, but is taken apart again
    BYTE = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class SentencePieceVocabulary:
    """What a SentencePiece model file says; a piece's id is its place."""

    pieces: list[str]
    scores: list[float]  # float32 in the file
    types: list[PieceType]
    is_unigram: bool  # or BPE
    byte_fallback: bool  # write what is unknown in bytes; always for BPE
    characters: CharacterMap | None  # what replaces strings of a text before all else
    add_dummy_prefix: bool  # put a space before the text
    remove_extra_whitespaces: bool  # none at the ends, one between words
    escape_whitespaces: bool  # write ▁ for a space
    roles: dict[
        str, str | None
    ]  # the pieces that are "bos", "eos", "unk", "pad", where there are such

    @property
    def drops_space(self) -> bool:
        """Whether decoding takes a space away at the start of a text."""
        return self.add_dummy_prefix or self.remove_extra_whitespaces

    def of_type(self, *wanted: PieceType) -> dict[str, int]:
        """Return the pieces of these types, with their places."""
        return {
            piece: i
            for i, (piece, kind) in enumerate(zip(self.pieces, self.types, strict=True))
            if kind in wanted
        }
