"""Learn what byte-pair encoding joins: again and again the most frequent pair of neighbours.

Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units"
(arXiv:1508.07909), section 3.2, on bytes as in GPT-2. The paper counts all pairs anew for each
merge; here a merge touches only the places where its pair stands.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from heapq import heappop, heappush
from typing import TypeAlias

Pair: TypeAlias = tuple[bytes, bytes]

_NONE = -1  # the place before the first symbol of a word, and behind its last
_SINGLES = [bytes([byte]) for byte in range(256)]


def learn_merges(words: Mapping[bytes, int]) -> Iterator[Pair]:
    """Yield the pairs to join, in their order, until every word is one symbol.

    `words` counts how often each stands in the text; nothing joins across their ends. Of pairs that
    are equally frequent the lexicographically greatest is first, as in Stanford's CS336: the order
    of words and texts does not matter. A pair that overlaps itself, as (a, a) does in aaa, counts
    at each place, and the leftmost is joined.

    >>> list(learn_merges({b"low": 5, b"lower": 2, b"wow": 4}))[:3]
    [(b'o', b'w'), (b'l', b'ow'), (b'w', b'ow')]
    """
    neighbours = _Neighbours(words)
    while pair := neighbours.most_frequent():
        yield pair
        neighbours.join(pair)


class _Neighbours:
    """All distinct words as linked symbols, and for each pair how often it stands, and where."""

    def __init__(self, words: Mapping[bytes, int]) -> None:
        self._symbols: list[bytes] = []
        self._weights: list[int] = []  # of the word that the symbol stands in
        self._before: list[int] = []
        self._after: list[int] = []
        self._counts: defaultdict[Pair, int] = defaultdict(int)
        self._places: defaultdict[Pair, list[int]] = defaultdict(list)  # also where it was once
        for word, count in words.items():
            start, end = len(self._symbols), len(self._symbols) + len(word)
            self._symbols += map(_SINGLES.__getitem__, word)
            self._weights += [count] * len(word)
            self._before += [_NONE, *range(start, end - 1)][: len(word)]
            self._after += [*range(start + 1, end), _NONE][: len(word)]
            for place in range(start, end - 1):
                self._count(place, place + 1, count)
        self._heap: list[tuple[int, tuple[str, str], Pair]] = []
        for pair in [*self._counts]:
            self._rank(pair)

    def most_frequent(self) -> Pair | None:
        """Return the pair that is joined next; None where there is none."""
        while self._heap:
            negative, _, pair = heappop(self._heap)
            if self._counts[pair] == -negative:
                return pair
            self._rank(pair)  # its count has fallen since; it never rises again
        return None

    def join(self, pair: Pair) -> None:
        """Join the pair wherever it stands, from left to right, and count its neighbours anew.

        A pair's places are in order: all came up when the newer of its two symbols did.
        """
        symbols, before, after = self._symbols, self._before, self._after
        new = set()
        for left in self._places[pair]:
            right = after[left]
            if right == _NONE or (symbols[left], symbols[right]) != pair:
                continue  # one of the two was joined to another since: symbols only ever grow
            weight, previous, following = self._weights[left], before[left], after[right]
            if previous != _NONE:
                self._counts[symbols[previous], symbols[left]] -= weight
            if following != _NONE:
                self._counts[symbols[right], symbols[following]] -= weight
                before[following] = left
            symbols[left], symbols[right] = pair[0] + pair[1], b""
            after[left] = following
            if previous != _NONE:
                new.add(self._count(previous, left, weight))
            if following != _NONE:
                new.add(self._count(left, following, weight))
        del self._counts[pair], self._places[pair]
        for made in new:
            self._rank(made)

    def _count(self, left: int, right: int, weight: int) -> Pair:
        pair = self._symbols[left], self._symbols[right]
        self._counts[pair] += weight
        self._places[pair].append(left)
        return pair

    def _rank(self, pair: Pair) -> None:
        """Put a pair in the heap, or forget it where it stands nowhere any more.

        The heap gives the most frequent first, and of equals the greatest.
        """
        if self._counts[pair]:
            order = _descending(pair[0]), _descending(pair[1])
            heappush(self._heap, (-self._counts[pair], order, pair))
        else:
            del self._counts[pair], self._places[pair]


@lru_cache(65_536)
def _descending(symbol: bytes) -> str:
    """Return a text that sorts the other way round than the bytes; a longer one comes first."""
    return "".join(chr(255 - byte) for byte in symbol) + "\u0100"
