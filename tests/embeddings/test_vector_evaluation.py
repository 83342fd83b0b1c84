"""tinyllm.embeddings.evaluation"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.embeddings import WordVectors, evaluation
from tinyllm.embeddings.evaluation import (
    evaluate_analogies,
    evaluate_similarity,
    ranks,
    spearman,
)
from tinyllm.errors import UsageError

numbers = st.lists(st.integers(-3, 3), min_size=2, max_size=9)
VECTORS = WordVectors(
    words=("a", "b", "c", "d", "e"),
    vectors=np.array([[1.0, 0], [1, 0.2], [0, 1], [0.1, 1.2], [-1, 0]]),
)


@given(numbers)
def test_ranks_count_what_is_less_and_half_of_what_is_equal(values):
    for value, rank in zip(values, ranks(values)):
        assert rank == sum(x < value for x in values) + (values.count(value) + 1) / 2


@given(numbers, st.randoms())
def test_spearman_sees_order_alone(values, random):
    other = random.sample(values, len(values))
    rho = spearman(values, other)
    if len(set(values)) == 1:
        assert math.isnan(rho)
        return
    assert spearman(values, values) == pytest.approx(1)
    assert spearman(values, [-x for x in values]) == pytest.approx(-1)
    assert rho == pytest.approx(spearman(np.exp(values), other))
    assert rho == pytest.approx(np.corrcoef(ranks(values), ranks(other))[0, 1])


def test_similarity_covers_the_known_pairs(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("# comment\n\na\tb\t9\nA\tc\t5\na\te\t1\na\tnone\t3\n")
    score = evaluate_similarity(VECTORS, path)
    assert score == evaluation.Score(name="x.tsv", score=1.0, covered=3, questions=4)
    path.write_text("a\tb\t9\nx\ty\t5\n")
    assert math.isnan(evaluate_similarity(VECTORS, path).score)


def test_analogies_are_right_by_section_and_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 2)
    path = tmp_path / "x.txt"
    path.write_text(": right\na b c d\nb a d c\nA b c d\n: wrong\na b c e\na b c none\n: unknown\n")
    scores = {score.name: score for score in evaluate_analogies(VECTORS, path)}
    assert [(s.score, s.covered, s.questions) for s in scores.values()][:2] == [
        (1, 3, 3),
        (0, 1, 2),
    ]
    assert math.isnan(scores["unknown"].score)
    total = scores["total"]
    assert (total.score, total.covered, total.questions) == (0.75, 4, 5)
    for a, b, c in ("abc", "bad"):
        assert VECTORS.analogy(a, b, c, 1)[0][0] == {"abc": "d", "bad": "c"}[a + b + c]


def test_questions_before_any_section_are_named_after_the_file(tmp_path):
    (tmp_path / "x.txt").write_text("a b c d\n")
    assert [s.name for s in evaluate_analogies(VECTORS, tmp_path / "x.txt")] == ["x", "total"]


BAD = {
    "two columns": (evaluate_similarity, b"a\tb\n", r"line 1 is 'a\\tb'; expected word TAB word"),
    "no number": (evaluate_similarity, b"\na\tb\tx\n", "line 2 is"),
    "three words": (evaluate_analogies, b": x\na b c\n", "line 2 is 'a b c'; expected four words"),
    "not UTF-8": (evaluate_analogies, b"a b c \xff", "not UTF-8 at byte 6"),
    "too large": (evaluate_similarity, b"a\tb\t1\n" * 9, "larger than 50 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(evaluation, "LARGEST_FILE", 50)
    judge, content, says = BAD[name]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UsageError, match=says):
        judge(VECTORS, tmp_path / "x")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        evaluate_similarity(VECTORS, tmp_path / "none")
