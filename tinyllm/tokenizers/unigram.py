"""Unigram: of all ways to cut a text into pieces, the one whose scores have the largest sum.

    best(0) = 0,  best(e) = max over pieces text[b:e] of best(b) + score(text[b:e])

Kudo 2018, "Subword Regularization" (arXiv:1804.10959), section 3.2, found by Viterbi's algorithm:
linear in the text, times the lengths that pieces have. Scores are log-probabilities. A character
that is no piece is unknown, at 10 below the worst score; neighbours that are unknown are one.
Facts: google/sentencepiece, src/unigram_model.cc.
"""

from array import array
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby

from tinyllm.tokenizers.prefixes import Lengths, lengths_by_first
from tinyllm.tokenizers.tokenizer import EncodeWord

UNKNOWN_PENALTY = 10.0
_CACHED_WORDS, _CACHED_LENGTH = 65_536, 32


def unknown_encoder(unknown: int, bytes_: list[int]) -> Callable[[str], list[int]]:
    """Return the function from unknown text to ids: its bytes, or one if there are no `bytes_`."""
    if bytes_:
        return lambda text: [bytes_[byte] for byte in text.encode()]
    return lambda text: [unknown]


def word_encoder(
    ids: dict[str, int],
    scores: dict[str, float],
    *,
    unknown_score: float,
    unknown: Callable[[str], list[int]],
    precision: str,
) -> EncodeWord:
    """Return the function from a text to ids.

    `ids` and `scores` are of the pieces that text may become; `unknown` makes ids of unknown text.
    Two sums may be equal or not depending on how they are rounded: `precision` is "f" for float32
    as in sentencepiece, "d" for float64 as in tokenizers.
    """
    lengths = lengths_by_first(scores)

    def encode(text: str) -> list[int]:
        found: list[int] = []
        pieces = _best_pieces(text, scores, lengths, unknown_score, precision)
        for is_known, run in groupby(pieces, key=scores.__contains__):
            if is_known:
                found.extend([ids[piece] for piece in run])
            else:
                found.extend(unknown("".join(run)))
        return found

    remembered = lru_cache(_CACHED_WORDS)(encode)
    return lambda text: remembered(text) if len(text) <= _CACHED_LENGTH else encode(text)


def _best_pieces(
    text: str, scores: dict[str, float], lengths: Lengths, unknown_score: float, precision: str
) -> list[str]:
    """Cut `text` into pieces and unknown characters; of equal sums the one found first stays."""
    best = array(precision, [0.0]) * (len(text) + 1)
    begin_of = [-1] * (len(text) + 1)  # of the last piece of the best way to each place
    for begin, first in enumerate(text):
        ends = [(begin + n, scores.get(text[begin : begin + n])) for n in lengths.get(first, ())]
        if first not in scores:
            ends.append((begin + 1, unknown_score))
        for end, score in ends:
            if score is None or end > len(text):
                continue
            total = best[begin] + score
            if begin_of[end] < 0 or total > best[end]:
                best[end], begin_of[end] = total, begin
    pieces = []
    end = len(text)
    while end > 0:
        pieces.append(text[begin_of[end] : end])
        end = begin_of[end]
    return pieces[::-1]
