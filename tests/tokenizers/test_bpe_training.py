"""Training byte-pair encoding: against the definition itself, which counts all pairs every time."""

import random
import time
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokenizers.bpe_training import learn_merges

words = st.dictionaries(st.binary(max_size=12), st.integers(1, 4), max_size=6)
# Of two letters, so that pairs overlap and are equally frequent all the time.
narrow = st.dictionaries(
    st.text("ab", max_size=14).map(str.encode), st.integers(1, 3), max_size=6
)  # fmt: skip


def by_definition(words):
    """Count all pairs, join the best everywhere, and again: the paper's algorithm."""
    split = {word: [bytes([byte]) for byte in word] for word in words}
    while True:
        counts = Counter()
        for word, symbols in split.items():
            for pair in pairwise(symbols):
                counts[pair] += words[word]
        if not counts:
            return
        best = max(counts, key=lambda pair: (counts[pair], pair))
        yield best
        for word, symbols in split.items():
            joined = []
            for symbol in symbols:
                if joined and (joined[-1], symbol) == best:
                    joined[-1] = best[0] + best[1]
                else:
                    joined.append(symbol)
            split[word] = joined


@given(words | narrow)
def test_merges_are_those_of_the_definition(words):
    assert list(learn_merges(words)) == list(by_definition(words))


def test_merges_of_a_larger_text_are_those_of_the_definition():
    rng = random.Random(0)
    words = Counter(
        "".join(rng.choices("etaoin ", k=rng.randint(1, 9))).encode() for _ in range(150)
    )
    learnt = list(learn_merges(words))
    assert len(learnt) > 100
    assert learnt == list(by_definition(words))


@given(words | narrow, st.randoms(use_true_random=False))
def test_the_order_of_words_does_not_matter(words, rng):
    items = list(words.items())
    rng.shuffle(items)
    assert list(learn_merges(dict(items))) == list(learn_merges(words))


@given(words | narrow)
def test_a_piece_is_made_in_one_way_alone_and_of_pieces_made_before(words):
    pieces = {bytes([byte]) for byte in range(256)}
    for left, right in learn_merges(words):
        assert {left, right} <= pieces
        assert left + right not in pieces
        pieces.add(left + right)
    assert pieces >= words.keys() - {b""}, "in the end every word is one piece"


def test_of_equally_frequent_pairs_the_greatest_is_first():
    assert next(learn_merges({b"ab": 1, b"zy": 1, b"zx": 1})) == (b"z", b"y")
    # Once "ab" is one symbol, (ab, c) is greater than (ab, b), and (ab, b) than (a, c).
    assert list(learn_merges({b"abc": 2, b"abb": 2, b"ac": 2})) == [
        (b"a", b"b"), (b"ab", b"c"), (b"ab", b"b"), (b"a", b"c"),
    ]  # fmt: skip
    # A symbol is greater than its own beginning: (b, ab) before (b, a).
    assert list(learn_merges({b"ab": 5, b"bab": 1, b"ba": 1}))[1:] == [(b"b", b"ab"), (b"b", b"a")]


def test_a_pair_counts_wherever_it_stands_and_joins_from_the_left():
    assert list(learn_merges({b"aaaaa": 1, b"bb": 3})) == [
        (b"a", b"a"), (b"b", b"b"), (b"aa", b"aa"), (b"aaaa", b"a"),
    ]  # fmt: skip


def test_words_that_do_not_stand_in_the_text_teach_nothing():
    assert list(learn_merges({})) == list(learn_merges({b"": 3, b"a": 2, b"ab": 0})) == []


def test_a_word_of_sixty_thousand_bytes_takes_no_quadratic_time():
    """Scanning the word for each merge would take minutes."""
    long = random.Random(0).randbytes(30_000).replace(b" ", b"") + b"a" * 30_000
    begun = time.perf_counter()
    learnt = [pair for pair, _ in zip(learn_merges({long: 1}), range(1500))]
    assert (b"a", b"a") in learnt
    assert time.perf_counter() - begun < 10
