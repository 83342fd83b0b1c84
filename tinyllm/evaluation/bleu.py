"""BLEU: how many of a translation's runs of words are in translations by people.

Papineni, Roukos, Ward and Zhu 2002, "BLEU: a Method for Automatic Evaluation of Machine
Translation", section 2.3.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tinyllm.errors import UsageError

Words: TypeAlias = Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bleu:
    """The score, from 0 to 1, and what it is made of."""

    score: float
    precisions: tuple[float, ...]  # of runs of 1, 2 … words
    brevity_penalty: float
    length: int  # words of all candidates
    reference_length: int  # words of the references that are nearest to them in length


def corpus_bleu(
    candidates: Sequence[Words], references: Sequence[Sequence[Words]], *, max_n: int = 4
) -> Bleu:
    """Score all candidates together: BLEU = min(1, e^(1 - r/c)) (Πₙ pₙ)^(1/N).

    pₙ is the part of the candidates' runs of n words that a reference has; a run counts at most as
    often as in the one reference that has it most often. c is the length of all candidates, r that
    of their references; of several, the one that is nearest in length, and of these the shortest.
    Sums are over all candidates before any division, nothing is smoothed, and words are what the
    caller takes for words: scores compare for the same ones only. Raises UsageError where there is
    nothing to compare.
    """
    if not candidates or len(candidates) != len(references) or not all(references):
        raise UsageError(
            f"there are {len(candidates)} candidates and {len(references)} lists of references;"
            " expected as many of each, and a reference for each candidate"
        )
    matches, runs = [0] * max_n, [0] * max_n
    length = reference_length = 0
    for candidate, several in zip(candidates, references, strict=True):
        length += len(candidate)
        reference_length += min((abs(len(r) - len(candidate)), len(r)) for r in several)[1]
        for n in range(1, max_n + 1):
            own = _runs(candidate, n)
            allowed: Counter[tuple[str, ...]] = Counter()
            for reference in several:
                allowed |= _runs(reference, n)  # the larger count of each
            matches[n - 1] += (own & allowed).total()  # the smaller one
            runs[n - 1] += own.total()
    precisions = tuple(m / r if r else 0.0 for m, r in zip(matches, runs, strict=True))
    penalty = math.exp(min(0.0, 1.0 - reference_length / length)) if length else 0.0
    score = penalty * math.prod(precisions) ** (1.0 / max_n)
    return Bleu(
        score=score, precisions=precisions, brevity_penalty=penalty, length=length,
        reference_length=reference_length,
    )  # fmt: skip


def _runs(words: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
