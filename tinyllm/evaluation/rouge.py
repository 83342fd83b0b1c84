"""ROUGE-L: the words that two texts have in common in the same order, with gaps.

Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RougeL:
    """The longest common subsequence, as parts of both texts."""

    precision: float  # of the candidate
    recall: float  # of the reference
    f1: float  # their harmonic mean


def rouge_l(candidate: Sequence[str], reference: Sequence[str]) -> RougeL:
    """Compare words: P = LCS / |candidate|, R = LCS / |reference|, F = 2 P R / (P + R).

    0 where nothing is in common. Lin's F with β = 1, as usual since.
    """
    common = longest_common_subsequence(candidate, reference)
    if not common:
        return RougeL(precision=0.0, recall=0.0, f1=0.0)
    total = len(candidate) + len(reference)
    return RougeL(
        precision=common / len(candidate), recall=common / len(reference), f1=2 * common / total
    )


def longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many words `a` and `b` have in common in the same order.

    L(i, j) = L(i-1, j-1) + 1 where aᵢ = bⱼ, else max(L(i-1, j), L(i, j-1)): row after row.

    >>> longest_common_subsequence("ABCBDAB", "BDCABA")
    4
    """
    row = [0] * (len(b) + 1)
    for word in a:
        above_left = 0
        for j, other in enumerate(b, start=1):
            above = row[j]
            row[j] = above_left + 1 if word == other else max(above, row[j - 1])
            above_left = above
    return row[-1]
