"""tinyllm.compression.masks and scores"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.compression.masks import MATRIX, NofM, Unstructured, lowest, pruned, read_pattern
from tinyllm.compression.scores import magnitude_scores, wanda_scores
from tinyllm.errors import UsageError

sparsities = st.sampled_from([0.0, 0.1, 0.29, 1 / 3, 0.5, 0.75, 0.999])
sizes = st.integers(1, 9)


def draw(rng, D, C, ties):
    """Weights, and norms of what they are given; with ties, of few different values."""
    if ties:
        return rng.integers(-2, 3, (D, C)).astype(np.float32), rng.integers(0, 3, C) * 1.0
    return rng.standard_normal((D, C)).astype(np.float32), rng.random(C)


@given(sizes, sizes, sparsities, st.booleans(), rngs)
def test_wanda_equals_brute_force_over_each_row(D, C, sparsity, ties, rng):
    weight, norms = draw(rng, D, C, ties)
    mask = lowest(wanda_scores(weight, norms), Unstructured(sparsity=sparsity))
    count = int(C * sparsity + 1e-9)
    for i in range(D):
        ranked = sorted(range(C), key=lambda j: (abs(float(weight[i, j])) * norms[j], j))
        assert set(np.flatnonzero(mask[i])) == set(ranked[:count])


@given(sizes, sizes, sparsities, st.booleans(), rngs)
def test_magnitude_equals_brute_force_over_the_matrix(D, C, sparsity, ties, rng):
    weight, _ = draw(rng, D, C, ties)
    mask = lowest(magnitude_scores(weight), Unstructured(sparsity=sparsity, within=MATRIX))
    flat = [abs(float(w)) for row in weight for w in row]
    ranked = sorted(range(D * C), key=lambda k: (flat[k], k))
    assert set(np.flatnonzero(mask)) == set(ranked[: int(D * C * sparsity + 1e-9)])


@given(sizes, st.integers(1, 4), st.sampled_from([(1, 2), (2, 4), (1, 4), (4, 8)]), rngs)
def test_n_of_every_m_go_and_they_are_the_lowest(D, groups, n_of_m, rng):
    n, m = n_of_m
    weight, norms = draw(rng, D, groups * m, ties=rng.random() < 0.5)
    scores = wanda_scores(weight, norms)
    mask = lowest(scores, NofM(zeros=n, of=m))
    for i in range(D):
        for g in range(groups):
            here = slice(g * m, (g + 1) * m)
            assert mask[i, here].sum() == n
            ranked = sorted(range(m), key=lambda j: (scores[i, here][j], j))
            assert set(np.flatnonzero(mask[i, here])) == set(ranked[:n])


@pytest.mark.parametrize(("size", "sparsity", "count"), [
    (100, 0.29, 29), (10, 0.3, 3), (3, 1 / 3, 1), (7, 0.5, 3), (1000, 0.999, 999), (5, 0.0, 0),
])  # fmt: skip
def test_the_share_is_met_though_it_is_no_binary_fraction(size, sparsity, count):
    assert Unstructured(sparsity=sparsity).group((2, size)) == (size, count)
    assert Unstructured(sparsity=sparsity, within=MATRIX).group((1, size)) == (size, count)


def test_of_equal_scores_the_first_go():
    mask = lowest(np.array([[2.0, 1, 1, 1], [0, 0, 0, 0]]), Unstructured(sparsity=0.5))
    assert mask.tolist() == [[False, True, True, False], [True, True, False, False]]


@given(sizes, sizes, sparsities, rngs)
def test_the_reference_takes_one_weight_more_than_asked_for(D, C, sparsity, rng):
    """Wanda's repository prunes by magnitude all that is not above the k-th value, k from 0."""
    weight = rng.standard_normal((D, C))
    theirs = np.abs(weight) <= np.sort(np.abs(weight).reshape(-1))[int(D * C * sparsity + 1e-9)]
    ours = lowest(magnitude_scores(weight), Unstructured(sparsity=sparsity, within=MATRIX))
    assert theirs.sum() == ours.sum() + 1
    assert not (ours & ~theirs).any()


class TestLaws:
    half = Unstructured(sparsity=0.5)

    @given(sizes, sizes, sparsities, rngs)
    def test_equal_norms_make_wanda_magnitude(self, D, C, sparsity, rng):
        weight, _ = draw(rng, D, C, ties=False)
        for pattern in (
            Unstructured(sparsity=sparsity),
            Unstructured(sparsity=sparsity, within=MATRIX),
        ):
            wanda = lowest(wanda_scores(weight, np.full(C, 3.0)), pattern)
            assert np.array_equal(wanda, lowest(magnitude_scores(weight), pattern))

    @given(sizes, sizes, st.sampled_from([0.25, 8.0]), rngs)
    def test_the_scale_of_all_activations_or_of_a_row_is_no_matter(self, D, C, scale, rng):
        weight, norms = draw(rng, D, C, ties=False)
        mask = lowest(wanda_scores(weight, norms), self.half)
        assert np.array_equal(mask, lowest(wanda_scores(weight, scale * norms), self.half))
        rows = weight * scale ** rng.integers(-2, 3, (D, 1)).astype(np.float32)
        assert np.array_equal(mask, lowest(wanda_scores(rows, norms), self.half))

    @given(sizes, sizes, rngs)
    def test_the_order_of_the_inputs_is_no_matter(self, D, C, rng):
        weight, norms = draw(rng, D, C, ties=False)
        order = rng.permutation(C)
        mask = lowest(wanda_scores(weight, norms), self.half)
        assert np.array_equal(
            mask[:, order], lowest(wanda_scores(weight[:, order], norms[order]), self.half)
        )

    @given(sizes, st.integers(2, 9), rngs)
    def test_an_input_that_is_always_zero_goes_first(self, D, C, rng):
        weight, norms = draw(rng, D, C, ties=False)
        dead = int(rng.integers(C))
        norms = np.where(np.arange(C) == dead, 0.0, norms + 0.1)
        assert lowest(wanda_scores(weight, norms), self.half)[:, dead].all()

    @given(sizes, sizes, sparsities, rngs)
    def test_weights_that_stay_are_what_they_were(self, D, C, sparsity, rng):
        weight, norms = draw(rng, D, C, ties=False)
        before = weight.copy()
        mask = lowest(wanda_scores(weight, norms), Unstructured(sparsity=sparsity))
        after = pruned(weight, mask)
        assert after.dtype == weight.dtype
        assert np.array_equal(after[~mask].tobytes(), weight[~mask].tobytes())
        assert not after[mask].any()
        assert np.array_equal(weight, before)


def test_with_outliers_among_the_inputs_wanda_changes_outputs_less_than_magnitude():
    """On average: for a matrix by itself nothing is promised."""
    rng, better = np.random.default_rng(0), 0
    for _ in range(50):
        x = rng.standard_normal((64, 32)) * np.exp(rng.standard_normal(32))
        weight = rng.standard_normal((16, 32))
        errors = [
            np.linalg.norm(x @ (weight - pruned(weight, lowest(scores, TestLaws.half))).T)
            for scores in (
                wanda_scores(weight, np.linalg.norm(x, axis=0)),
                magnitude_scores(weight),
            )
        ]
        better += errors[0] < errors[1]
    assert better >= 48


def test_patterns_by_name():
    assert read_pattern("unstructured", None) == Unstructured(sparsity=0.5)
    assert read_pattern("unstructured", 0.0, MATRIX) == Unstructured(sparsity=0.0, within=MATRIX)
    assert read_pattern("2:4", 0.5) == read_pattern("2:4", None) == NofM(zeros=2, of=4)
    assert NofM(zeros=1, of=4).sparsity == 0.25


@pytest.mark.parametrize(("name", "sparsity", "line"), [
    ("unstructured", 1.0, "sparsity is 1.0, expected 0 ≤ sparsity < 1"),
    ("unstructured", 1.0001, "sparsity is 1.0001"),
    ("unstructured", -0.1, "sparsity is -0.1"),
    ("unstructured", float("nan"), "sparsity is nan"),
    ("2:4", 0.6, "pattern 2:4 has sparsity 0.5, and not 0.6"),
    ("4:4", None, "pattern 4:4 is not N:M with 0 < N < M"),
    ("0:4", None, "pattern 0:4 is not N:M"),
    ("2:4\n", None, r"pattern is '2:4\n', expected unstructured, or N:M"),
    ("99999:100000", None, "expected unstructured, or N:M"),
    ("half", None, "pattern is 'half'"),
])  # fmt: skip
def test_a_pattern_that_cannot_be_is_one_line(name, sparsity, line):
    with pytest.raises(UsageError) as error:
        read_pattern(name, sparsity)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_must_consist_of_whole_groups():
    with pytest.raises(
        UsageError, match="2:4 needs rows of a multiple of 4 weights, and these have 6"
    ):
        lowest(np.ones((2, 6)), NofM(zeros=2, of=4))
    with pytest.raises(UsageError, match="within is 'column'"):
        Unstructured(sparsity=0.5, within="column")
