"""tinyllm.embeddings.word_vectors"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.embeddings import WordVectors
from tinyllm.errors import UsageError

PLANE = WordVectors(
    words=("king", "queen", "man", "woman", "zero"),
    vectors=np.array([[2.0, 2], [2, -2], [0.5, 3], [0.5, -3], [0, 0]]),
)


def test_an_analogy_is_a_parallelogram_without_the_words_given():
    answers = PLANE.analogy("man", "woman", "king")
    assert answers[0][0] == "queen"
    assert {word for word, _ in answers} == {"queen", "zero"}
    unit = PLANE.unit
    query = unit[3] - unit[2] + unit[0]
    assert answers[0][1] == pytest.approx(unit[1] @ query / np.linalg.norm(query))


def test_neighbours_are_sorted_cosines():
    near = PLANE.neighbours("king", 2)
    assert [word for word, _ in near] == ["man", "queen"]
    assert near[0][1] == pytest.approx((1 + 6) / (8**0.5 * 9.25**0.5))
    assert near[1][1] == pytest.approx(0, abs=1e-15)
    assert len(PLANE.neighbours("king", 99)) == 4


@given(st.integers(2, 8), st.integers(1, 4), st.integers(1, 9), rngs)
def test_neighbours_are_those_of_brute_force(V, D, n, rng):
    vectors = WordVectors(
        words=tuple(f"w{i}" for i in range(V)), vectors=rng.standard_normal((V, D))
    )
    near = vectors.neighbours("w0", n)
    x = vectors.vectors
    cosines = {
        f"w{i}": x[i] @ x[0] / np.linalg.norm(x[i]) / np.linalg.norm(x[0]) for i in range(1, V)
    }
    best = sorted(cosines.values(), reverse=True)[:n]
    np.testing.assert_allclose([cosine for _, cosine in near], best, atol=1e-12)
    assert all(cosines[word] == pytest.approx(cosine, abs=1e-12) for word, cosine in near)


def test_equal_cosines_come_by_frequency():
    same = WordVectors(words=("a", "b", "c", "d"), vectors=np.ones((4, 2)))
    assert [word for word, _ in same.neighbours("c")] == ["a", "b", "d"]
    assert [word for word, _ in same.analogy("a", "b", "c")] == ["d"]


def test_lower_case_stands_in_and_unknown_words_come_with_near_ones():
    assert PLANE.number("King") == 0
    with pytest.raises(UsageError, match=r"no vector of 'quen'; did you mean queen"):
        PLANE.neighbours("quen")
    with pytest.raises(UsageError, match=r"no vector of 'x\\n'; nor any"):
        PLANE.number("x\n")
    with pytest.raises(UsageError, match="no vector of 'wman'"):
        PLANE.analogy("man", "wman", "king")
