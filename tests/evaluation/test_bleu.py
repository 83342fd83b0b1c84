"""BLEU: the paper's examples, a number by hand, laws, what cannot be compared."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import UsageError
from tinyllm.evaluation import corpus_bleu

sentences = st.lists(st.sampled_from("abcd"), min_size=1, max_size=6)
pairs = st.lists(
    st.tuples(sentences, st.lists(sentences, min_size=1, max_size=3)), min_size=1, max_size=4
)


def words(text):
    return text.lower().split()


# Papineni et al. 2002, section 2.1.
FIRST = words(
    "It is a guide to action which ensures that the military always obeys the commands of the party"
)
SECOND = words(
    "It is to insure the troops forever hearing the activity guidebook that party direct"
)
PEOPLE = [
    words(text)
    for text in (
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "It is the guiding principle which guarantees the military forces always being under the"
        " command of the Party",
        "It is the practical guide for the army always to heed the directions of the party",
    )
]


def test_the_papers_examples():
    assert corpus_bleu([FIRST], [PEOPLE]).precisions[:2] == (17 / 18, 10 / 17)
    assert corpus_bleu([SECOND], [PEOPLE]).precisions[:2] == (8 / 14, 1 / 13)
    thes = words("the the the the the the the")
    cats = [words("The cat is on the mat"), words("There is a cat on the mat")]
    assert corpus_bleu([thes], [cats]).precisions[:2] == (2 / 7, 0.0)
    short = corpus_bleu([words("of the")], [PEOPLE])
    assert short.precisions[:2] == (1.0, 1.0)
    assert short.brevity_penalty == math.exp(1 - 16 / 2)
    assert short.score == 0.0, "it has no run of three words"


def test_a_corpus_by_hand():
    """Sums come before division: 5/7, 3/5, 2/3 and 1/1, and 7 words against 8."""
    candidates = [words("a b c d x"), words("a y")]
    references = [[words("a b c d e")], [words("a b c")]]
    found = corpus_bleu(candidates, references)
    assert found.precisions == (5 / 7, 3 / 5, 2 / 3, 1 / 2)
    assert (found.length, found.reference_length) == (7, 8)
    assert found.brevity_penalty == math.exp(1 - 8 / 7)
    assert found.score == pytest.approx(
        math.exp(1 - 8 / 7) * (5 / 7 * 3 / 5 * 2 / 3 * 1 / 2) ** 0.25, rel=1e-15
    )


def test_the_nearest_reference_counts_and_of_two_the_shorter():
    candidate = words("a b c d")
    found = corpus_bleu([candidate], [[words("a b c d e f g"), words("a b"), words("a b c d e f")]])
    assert found.reference_length == 2
    assert found.brevity_penalty == 1.0


@given(pairs)
def test_a_score_is_between_nothing_and_all_and_a_copy_has_all(some):
    candidates, references = [list(x) for x in zip(*some)]
    found = corpus_bleu(candidates, references)
    assert 0 <= found.score <= 1
    assert all(0 <= p <= 1 for p in found.precisions)
    copies = corpus_bleu([several[0] for several in references], references, max_n=1)
    assert copies.score == copies.brevity_penalty == 1.0


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_sentences_and_references_does_not_matter(some, rng):
    other = [(c, rng.sample(several, len(several))) for c, several in some]
    rng.shuffle(other)
    here, there = (corpus_bleu([c for c, _ in x], [r for _, r in x]) for x in (some, other))
    assert here == there


def test_nothing_gives_nothing():
    assert corpus_bleu([[]], [[["a"]]]).score == 0.0
    assert corpus_bleu([["a"]], [[[]]]).score == 0.0


@pytest.mark.parametrize(
    ("candidates", "references"), [([], []), ([["a"]], []), ([["a"]], [[]]), ([], [[["a"]]])]
)
def test_what_cannot_be_compared_is_refused(candidates, references):
    with pytest.raises(UsageError, match="expected as many of each"):
        corpus_bleu(candidates, references)
