"""Find which strings of a set begin at a place in a text, without trying all lengths everywhere."""

from collections.abc import Iterable
from typing import TypeAlias

Lengths: TypeAlias = dict[str, list[int]]


def lengths_by_first(strings: Iterable[str]) -> Lengths:
    """Return the lengths of the strings that begin with each character, the shortest first.

    >>> lengths_by_first(["a", "abc", "acc", "b"])
    {'a': [1, 3], 'b': [1]}
    """
    found: dict[str, set[int]] = {}
    for string in strings:
        found.setdefault(string[0], set()).add(len(string))
    return {first: sorted(lengths) for first, lengths in found.items()}
