"""Ranks of pieces take the place of ranks of pairs where, and only where, the ids stay the same."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokenizers.merge_order import piece_ranks
from tinyllm.tokenizers.merging import merge


def numbered(*pairs):
    return {tuple(pair.split()): i for i, pair in enumerate(pairs)}


def by_pairs(word, pairs):
    return merge(word, lambda left, right: pairs.get((left, right)))


def by_pieces(word, ranks):
    """As tiktoken does it: a word that is a piece stays whole."""
    return [word] if word in ranks else merge(word, lambda left, right: ranks.get(left + right))


@st.composite
def lists_of_pairs(draw):
    """Pairs of pieces that are there by then, sometimes out of order."""
    pieces, pairs = list("abc"), []
    for _ in range(draw(st.integers(1, 10))):
        pair = draw(st.sampled_from(pieces)), draw(st.sampled_from(pieces))
        if pair not in pairs:
            pairs.append(pair)
            pieces.append("".join(pair))
    order = draw(st.permutations(pairs)) if draw(st.booleans()) else pairs
    return {pair: i for i, pair in enumerate(order)}


words = st.text("abc", max_size=14)


@given(lists_of_pairs(), st.lists(words, min_size=20, max_size=40))
def test_where_there_are_ranks_they_make_the_same_pieces(pairs, texts):
    ranks = piece_ranks(pairs, whole_words=False)
    for word in texts if ranks is not None else []:
        assert by_pieces(word, ranks) == by_pairs(word, pairs)


@given(lists_of_pairs(), st.lists(words, min_size=20, max_size=40))
def test_with_whole_words_every_list_of_ranks_has_them_back(pairs, texts):
    """All ways to make a piece, in the order of pieces, is how ranks are written as merges."""
    pieces = dict.fromkeys([*"abc", *(left + right for left, right in pairs)])
    cuts = [(piece[:i], piece[i:]) for piece in pieces for i in range(1, len(piece))]
    written = {pair: i for i, pair in enumerate(c for c in cuts if set(c) <= pieces.keys())}
    ranks = piece_ranks(written, whole_words=True)
    for word in texts:
        whole = [word] if word in ranks else by_pairs(word, written)
        assert by_pieces(word, ranks) == whole


def train(texts, n):
    """Sennrich's training: again and again the most frequent pair joins."""
    texts, pairs = [list(text) for text in texts], {}
    for rank in range(n):
        counts = {}
        for parts in texts:
            for pair in itertools.pairwise(parts):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = max(sorted(counts), key=counts.get)
        pairs[best] = rank
        texts = [by_pairs(text, pairs) for text in map("".join, texts)]
    return pairs


def test_what_training_makes_always_has_ranks():
    choices = random.Random(0)
    for _ in range(20):
        corpus = ["".join(choices.choices("aab", k=choices.randrange(12))) for _ in range(30)]
        pairs = train(corpus, 25)
        if len(set(map("".join, pairs))) == len(pairs):
            assert piece_ranks(pairs, whole_words=False) is not None


OTHERS = {
    "a piece made in two ways, far apart": ("a b", "b c", "ab c", "c c", "a bc"),
    "a half that comes later": ("ab c", "a b"),
    "a second half that comes later": ("a bc", "b c"),
    "a piece whose halves another pair takes apart": ("b c", "a b", "ab c"),
    "the same, from the left": ("a b", "b c", "a bc"),
    "the same, deeper on the left": ("c a", "a b", "ca b", "b b", "ca bb", "b c", "ab b"),
    "the left one of two at the same rank": ("a a", "a aa"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_lists_that_mean_something_else_have_no_ranks(case):
    assert piece_ranks(numbered(*OTHERS[case]), whole_words=False) is None


def test_a_piece_that_its_bytes_do_not_make_needs_whole_words():
    unmade = numbered("b c", "a b", "ab c", "a bc")
    assert piece_ranks(unmade, whole_words=False) is None
    assert piece_ranks(unmade, whole_words=True) == {"bc": 0, "ab": 1, "abc": 2}
    assert piece_ranks(numbered("b c", "a b", "ab c"), whole_words=True) is None
