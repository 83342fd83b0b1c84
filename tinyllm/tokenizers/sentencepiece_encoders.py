"""How SentencePiece's models split a text, out of the scores and the types of their pieces.

Facts: google/sentencepiece, src/bpe_model.cc and src/unigram_model.cc.
"""

from collections.abc import Callable, Container, Iterator

import numpy as np

from tinyllm.tokenizers import byte_fallback, unigram
from tinyllm.tokenizers.merging import Rank
from tinyllm.tokenizers.sentencepiece_vocabulary import PieceType, SentencePieceVocabulary
from tinyllm.tokenizers.tokenizer import EncodeWord


def bpe_encoder(
    scores: list[float], text: dict[str, int], unused: dict[str, int], bytes_: list[int]
) -> EncodeWord:
    """Return BPE's function from a text to ids.

    The pair that joins first is the one whose joined piece has the highest score; of equal scores
    the leftmost. `unused` pieces join too, and come apart again.
    """
    ranks = {piece: -scores[i] for piece, i in (text | unused).items()}
    return byte_fallback.word_encoder(text, bytes_, *_joining(ranks, unused))


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


def unigram_encoder(
    vocabulary: SentencePieceVocabulary,
    ids: dict[str, int],
    unknown: Callable[[str], list[int]],
) -> EncodeWord:
    """Return Unigram's function from a text to the `ids` of pieces, or to ids of `unknown` text.

    User-defined pieces get a score that hardly any cut of them reaches, out of their length in
    bytes and the best score. All as the library rounds it, to float32.
    """
    normal = [vocabulary.scores[i] for i in vocabulary.of_type(PieceType.NORMAL).values()]
    worst = np.float32(min(normal, default=0.0))
    best = np.float32(max([float(np.finfo(np.float32).tiny), *normal]))
    scores = dict(zip(vocabulary.pieces, vocabulary.scores, strict=True))
    for piece in vocabulary.of_type(PieceType.USER_DEFINED):
        scores[piece] = float(np.float32(len(piece.encode())) * best) - 0.1
    return unigram.word_encoder(
        ids,
        {piece: scores[piece] for piece in ids},
        unknown_score=float(worst - np.float32(unigram.UNKNOWN_PENALTY)),
        unknown=unknown,
        precision="f",
    )
