"""Unigram cuts a text into the pieces whose scores have the largest sum."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokenizers.prefixes import lengths_by_first
from tinyllm.tokenizers.unigram import unknown_encoder, word_encoder

SCORES = {"a": -1.5, "ab": -2.5, "b": -2.0, "abc": -9.0, "bc": -3.25, "cab": -1.0, "bcd": -7.0}
IDS = {piece: i for i, piece in enumerate(SCORES)}
UNKNOWN = -20.0
by_score = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(-9, -1), min_size=1)


def encoder(scores=SCORES, ids=IDS, bytes_=(), precision="d"):
    unknown = unknown_encoder(99, list(bytes_))
    return word_encoder(ids, scores, unknown_score=UNKNOWN, unknown=unknown, precision=precision)


def ways(text):
    if not text:
        yield []
    for end in range(1, len(text) + 1):
        for rest in ways(text[end:]):
            yield [text[:end], *rest]


def total(pieces, scores):
    """The sum of scores; none where an unknown piece has two characters, or need not be."""
    return sum(scores.get(p, UNKNOWN if len(p) == 1 else -1e9) for p in pieces)


@given(by_score, st.text("abcd", max_size=7))
def test_no_other_way_to_cut_a_text_has_a_larger_sum(scores, text):
    ids = {piece: i for i, piece in enumerate(scores)}
    pieces = {i: piece for piece, i in ids.items()}
    single = unknown_encoder(99, [100 + byte for byte in range(256)])
    encode = word_encoder(ids, scores, unknown_score=UNKNOWN, unknown=single, precision="d")
    found = [pieces.get(i) or chr(i - 100) for i in encode(text)]
    assert "".join(found) == text
    assert total(found, scores) == max((total(way, scores) for way in ways(text)), default=0)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("abc", [0, 4]),
        ("cab", [5]),
        ("ab", [1]),
        ("xab", [99, 1]),
        ("xyab漢z", [99, 1, 99]),
        ("d", [99]),
    ],
)
def test_ids_are_those_worked_out_by_hand(text, ids):
    assert encoder()(text) == ids


def test_unknown_text_may_be_written_in_bytes():
    assert encoder(bytes_=range(1000, 1256))("aé") == [0, 1000 + 0xC3, 1000 + 0xA9]


def test_of_equal_sums_the_cut_found_first_stays():
    scores = {"a": -1.0, "b": -1.0, "ab": -2.0, "ba": -2.0}
    ids = {piece: i for i, piece in enumerate(scores)}
    assert encoder(scores, ids)("ab") == [2]
    assert encoder(scores, ids)("aba") == [0, 3]


def test_sums_are_rounded_to_the_precision():
    """2²⁴ + 1 is no float32: there the two cuts are equal, and the one found first stays."""
    scores = {"a": -(2.0**24), "b": -1.0, "ab": -(2.0**24)}
    ids = {piece: i for i, piece in enumerate(scores)}
    assert encoder(scores | {"ab": -(2.0**24) - 0.5}, ids, precision="d")("ab") == [2]
    assert encoder(scores | {"ab": -(2.0**24) - 2}, ids, precision="f")("ab") == [0, 1]
    assert encoder(scores, ids, precision="f")("ab") == [2]


@pytest.mark.untraced
@pytest.mark.parametrize("text", ["a", "abc", "x", "cab", "ab "])
def test_time_is_linear(text):
    """Half a second on an idle machine."""
    start = time.process_time()
    encoder(precision="f")((text * 100_000)[:100_000])
    assert time.process_time() - start < 5


def test_lengths_are_sorted_and_each_is_there_once():
    assert lengths_by_first(["abc", "a", "ab", "ac", "b"]) == {"a": [1, 2, 3], "b": [1]}
