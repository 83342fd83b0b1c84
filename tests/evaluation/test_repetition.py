"""Repeated runs of tokens."""

from tinyllm.evaluation import repeated_ngram_rate


def test_what_was_there_before_is_repeated():
    assert repeated_ngram_rate(range(9)) == 0.0
    assert repeated_ngram_rate([1] * 8) == 1 - 1 / 5
    assert repeated_ngram_rate([1, 2, 3, 4, 1, 2, 3, 4]) == 1 - 4 / 5
    assert repeated_ngram_rate([1, 2, 1, 2], 2) == 1 - 2 / 3


def test_a_short_text_repeats_nothing():
    assert repeated_ngram_rate([]) == repeated_ngram_rate([1, 1, 1]) == 0.0
    assert repeated_ngram_rate([1, 1, 1, 1]) == 0.0
