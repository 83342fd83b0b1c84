"""SentencePiece's BPE: the vocabulary with its scores, and the tokenizer that it makes.

The pair that joins first is the one whose joined piece has the highest score; of equal scores the
leftmost. Facts: google/sentencepiece, src/bpe_model.cc and src/normalizer.cc.
"""

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from tinyllm.tokenizers.added_tokens import AddedToken, combine
from tinyllm.tokenizers.assembly import assemble
from tinyllm.tokenizers.byte_fallback import (
    SPACE,
    byte_ids,
    first_piece_bytes,
    piece_bytes,
    word_encoder,
)
from tinyllm.tokenizers.merging import Rank
from tinyllm.tokenizers.settings import Settings
from tinyllm.tokenizers.tokenizer import Normalize, Tokenizer


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
    scores: list[float]
    types: list[PieceType]
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


def sentencepiece_tokenizer(
    path: Path,
    vocabulary: SentencePieceVocabulary,
    settings: Settings,
    sources: dict[str, bytes],
    export: Callable[[Tokenizer], dict[str, bytes]],
) -> Tokenizer:
    """Build the tokenizer of a SentencePiece vocabulary.

    Raises TokenizerError where the vocabulary cannot encode every text, or contradicts `settings`.
    """
    own = {piece: i for i, piece in enumerate(vocabulary.pieces)}
    kinds = dict(zip(vocabulary.pieces, vocabulary.types, strict=True))
    hidden = (PieceType.UNKNOWN, PieceType.CONTROL)
    roles = vocabulary.roles | settings.roles
    ids, added = combine(
        path,
        own,
        [
            AddedToken(content=piece, id=own[piece], special=True, normalized=False)
            for piece, kind in kinds.items()
            if kind in hidden
        ]
        + list(settings.added),
        roles,
    )

    def of_type(*wanted: PieceType) -> dict[str, int]:
        return {p: i for p, i in own.items() if kinds[p] in wanted and p not in added}

    text, unused = of_type(PieceType.NORMAL), of_type(PieceType.UNUSED)
    ranks = {piece: -vocabulary.scores[i] for piece, i in (text | unused).items()}
    return assemble(
        path,
        ids=ids,
        added=added,
        user_defined=of_type(PieceType.USER_DEFINED),
        piece_bytes=piece_bytes,
        first_bytes=first_piece_bytes if vocabulary.drops_space else piece_bytes,
        roles=roles,
        add_bos=roles.get("bos") is not None,
        add_eos=False,
        settings=settings,
        normalize=normalizer(vocabulary),
        pretokenize=lambda part, at_start: (part,),
        encode_word=word_encoder(
            text, byte_ids(path, of_type(PieceType.BYTE)), *_joining(ranks, unused)
        ),
        sources=sources,
        export=export,
    )


def normalizer(vocabulary: SentencePieceVocabulary) -> Normalize:
    """Return the function that treats spaces as the vocabulary wants it.

    Space here is U+0020 alone: a tab or a no-break space is a character like others.
    """
    space = SPACE if vocabulary.escape_whitespaces else " "

    def normalize(text: str) -> str:
        if vocabulary.remove_extra_whitespaces:
            text = re.sub(" {2,}", " ", text.lstrip(" "))
        if text and vocabulary.add_dummy_prefix:
            text = " " + text
        text = text.replace(" ", space)
        return text.rstrip(space) if vocabulary.remove_extra_whitespaces else text

    return normalize


def _joining(
    ranks: dict[str, float], unused: Container[str]
) -> tuple[Rank, Callable[[str], Iterator[str]] | None]:
    """Return the rank of a pair, and the function that takes unused pieces apart again.

    An unused piece comes apart where it was last seen to come together.
    """
    if not unused:
        return lambda left, right: ranks.get(left + right), None
    halves: dict[str, tuple[str, str]] = {}

    def rank(left: str, right: str) -> float | None:
        joined = left + right
        if joined in unused:
            halves[joined] = left, right
        return ranks.get(joined)

    def resplit(piece: str) -> Iterator[str]:
        stack = [piece]
        while stack:
            part = stack.pop()
            if part in halves:
                stack.extend(reversed(halves[part]))
            else:
                yield part

    return rank, resplit
