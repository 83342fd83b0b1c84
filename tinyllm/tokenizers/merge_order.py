"""Ranks of pieces in place of ranks of pairs: what tiktoken needs, and when both mean the same.

A list of merges ranks pairs: (a, bc) may join where (ab, c) may not. tiktoken ranks pieces: any two
neighbours that make "abc" join, at the one rank of "abc". The ids are the same where tiktoken never
meets a pair that the list has not. What it does inside the bytes of a piece depends on these bytes
alone, as long as nothing joins across their ends, so that each piece is made in one way; the way is
the list's own if the list makes the piece of its own bytes. `piece_ranks` checks that.
"""

from collections import Counter
from typing import TypeAlias

Pairs: TypeAlias = dict[tuple[str, str], int]  # what may join -> rank, in ascending order


def piece_ranks(pairs: Pairs, whole_words: bool) -> dict[str, int] | None:
    """Number the pieces that `pairs` make, in their order; None where that would make other ids.

    There are two kinds of lists: as training makes them, with one pair for each piece, and as a
    file of ranks is written out (Llama-3), with all of them. The second may hold pieces that their
    merges do not make, which is the same only with `whole_words`.
    """
    ranks: dict[str, int] = {}
    for left, right in pairs:
        if ranks.setdefault(left + right, len(ranks)) != len(ranks) - 1:
            return None  # the pairs of one piece stand in two places
    made_one_way = len(ranks) == len(pairs)
    if made_one_way and _makes_every_piece(pairs, ranks):
        return ranks
    return ranks if whole_words and _has_every_pair(pairs, ranks) else None


def _has_every_pair(pairs: Pairs, ranks: dict[str, int]) -> bool:
    """Whether all ways to cut a piece in two pieces are pairs."""

    def is_piece(part: str) -> bool:
        return len(part) == 1 or part in ranks

    counts = Counter(left + right for left, right in pairs)
    return all(
        count == sum(is_piece(piece[:i]) and is_piece(piece[i:]) for i in range(1, len(piece)))
        for piece, count in counts.items()
    )


def _makes_every_piece(pairs: Pairs, ranks: dict[str, int]) -> bool:
    """Whether merging the bytes of each piece makes it; each has one pair, its halves.

    It does if its halves come earlier, and nothing joins across the border between them before they
    are whole.
    """
    halves: dict[str, tuple[str, str]] = {}
    for left, right in pairs:
        if (len(left) > 1 and left not in halves) or (len(right) > 1 and right not in halves):
            return False
        if _joins_across(left, right, pairs, ranks, halves):
            return False
        halves[left + right] = left, right
    return True


def _joins_across(
    left: str, right: str, pairs: Pairs, ranks: dict[str, int], halves: dict[str, tuple[str, str]]
) -> bool:
    """Whether a part of `left` joins a part of `right` while both are being made.

    Takes back, from the last to the first, the merges that touch the border. Of two at one rank the
    left one was first.
    """
    left_rank, right_rank = ranks.get(left, -1), ranks.get(right, -1)
    while left_rank != right_rank or right_rank != -1:
        if left_rank > right_rank:
            limit = left_rank
            left = halves[left][1]
            left_rank = ranks.get(left, -1)
        else:
            limit = right_rank + 1
            right = halves[right][0]
            right_rank = ranks.get(right, -1)
        if (left, right) in pairs and ranks[left + right] < limit:
            return True
    return False
