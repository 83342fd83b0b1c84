"""The heap's merge is the paper's, faster."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokenizers.merging import merge


def merge_by_scanning(symbols, rank):
    """Algorithm 1 as it is told: look at all pairs, join the best, begin again."""
    parts = list(symbols)
    while True:
        ranks = [rank(*pair) for pair in itertools.pairwise(parts)]
        joinable = [i for i, found in enumerate(ranks) if found is not None]
        if not joinable:
            return parts
        i = min(joinable, key=lambda i: ranks[i])  # the leftmost of the lowest
        parts[i : i + 2] = ["".join(parts[i : i + 2])]


texts = st.text("abc", max_size=40)
words = st.dictionaries(st.text("abc", min_size=2, max_size=6), st.integers(0, 5), max_size=30)


@given(texts, words)
def test_ranks_of_joined_pieces_merge_as_in_the_paper(text, ranks):
    rank = lambda left, right: ranks.get(left + right)
    assert merge(text, rank) == merge_by_scanning(text, rank)


@given(texts, st.lists(st.tuples(*[st.text("abc", min_size=1, max_size=3)] * 2), max_size=40))
def test_ranks_of_pairs_merge_as_in_the_paper(text, pairs):
    ranks = {pair: i for i, pair in enumerate(pairs)}
    rank = lambda left, right: ranks.get((left, right))
    assert merge(text, rank) == merge_by_scanning(text, rank)


def test_of_equal_ranks_the_leftmost_joins_first():
    assert merge("aaa", lambda left, right: {"aa": 0}.get(left + right)) == ["aa", "a"]
    assert merge("abc", lambda left, right: {"ab": 0, "bc": 0}.get(left + right)) == ["ab", "c"]


def test_nothing_to_join_is_left_alone():
    assert merge("", lambda left, right: 0) == []
    assert merge("a", lambda left, right: 0) == ["a"]
    assert merge("ab", lambda left, right: None) == ["a", "b"]


@pytest.mark.untraced
@pytest.mark.parametrize("text", ["a", "ab", " a a"])
def test_time_grows_with_length_and_not_with_its_square(text):
    rank = lambda left, right: len(left + right) if len(left + right) <= 16 else None

    def seconds(n):
        start = time.process_time()
        merge((text * n)[:n], rank)
        return time.process_time() - start

    short = min(seconds(5_000) for _ in range(5))
    assert min(seconds(20_000) for _ in range(3)) < 10 * short  # 16 times, were it quadratic
