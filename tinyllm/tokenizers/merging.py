"""Byte-pair encoding's one algorithm: join the best pair of neighbours until no pair can be joined.

Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units"
(arXiv:1508.07909), algorithm 1, with a heap over a linked list: O(n log n) where the paper scans
all pairs for each join, O(n²).
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeAlias

Rank: TypeAlias = Callable[[str, str], float | None]  # of a pair; None: it may not be joined


def merge(symbols: Sequence[str], rank: Rank) -> list[str]:
    """Join neighbours, the lowest rank first and of equal ranks the leftmost, while one has a rank.

    >>> merge("abcab", lambda left, right: {"ab": 1, "cab": 2}.get(left + right))
    ['ab', 'cab']
    """
    parts = list(symbols)
    end = len(parts)
    before = list(range(-1, end - 1))  # the neighbours that are still there
    after = list(range(1, end + 1))

    def candidate(left: int) -> tuple[float, int, int] | None:
        """Rank the pair that begins at `left`; its length tells later whether it still stands."""
        right = after[left]
        if right == end:
            return None
        priority = rank(parts[left], parts[right])
        return None if priority is None else (priority, left, len(parts[left]) + len(parts[right]))

    heap = [entry for left in range(end - 1) if (entry := candidate(left))]
    heapify(heap)
    while heap:
        _, left, length = heappop(heap)
        right = after[left]
        if not parts[left] or right == end or len(parts[left]) + len(parts[right]) != length:
            continue  # one of the two was joined to another since: symbols only ever grow
        parts[left] += parts[right]
        parts[right] = ""
        after[left] = after[right]
        if after[left] < end:
            before[after[left]] = left
        for neighbour in (before[left], left):
            if neighbour >= 0 and (entry := candidate(neighbour)):
                heappush(heap, entry)
    return [part for part in parts if part]
