"""ROUGE-L: the paper's examples, and the definition of a common subsequence."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.evaluation import rouge_l
from tinyllm.evaluation.rouge import longest_common_subsequence

words = str.split
texts = st.lists(st.sampled_from("abc"), max_size=7)


def test_the_papers_examples():
    """Lin 2004, section 3.1: police killed the gunman."""
    reference = words("police killed the gunman")
    assert rouge_l(words("police kill the gunman"), reference).f1 == 0.75
    assert rouge_l(words("the gunman kill police"), reference).f1 == 0.5
    assert rouge_l(words("the gunman police killed"), reference).f1 == 0.5


def test_precision_is_of_the_candidate_and_recall_of_the_reference():
    found = rouge_l(words("a x b"), words("a b c d"))
    assert (found.precision, found.recall) == (2 / 3, 2 / 4)
    assert found.f1 == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4), rel=1e-15)


@given(texts, texts)
def test_the_length_is_that_of_the_longest_in_both(a, b):
    def subsequences(text):
        return {c for n in range(len(text) + 1) for c in combinations(text, n)}

    longest = max(map(len, subsequences(a) & subsequences(b)))
    assert longest_common_subsequence(a, b) == longest
    assert rouge_l(a, b).f1 == rouge_l(b, a).f1


@given(texts)
def test_a_copy_has_all_and_nothing_has_nothing(a):
    assert rouge_l(a, a).f1 == bool(a)
    assert rouge_l(a, []).f1 == rouge_l([], a).f1 == 0.0
