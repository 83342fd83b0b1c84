"""How much a text says again."""

from collections.abc import Hashable, Sequence


def repeated_ngram_rate(tokens: Sequence[Hashable], n: int = 4) -> float:
    """Return which part of the runs of n tokens was there before: 1 - distinct runs / runs.

    0 where there are fewer than n tokens.

    >>> repeated_ngram_rate("abcabcabc", 3)
    0.5714285714285714
    """
    runs = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1.0 - len(set(runs)) / len(runs) if runs else 0.0
