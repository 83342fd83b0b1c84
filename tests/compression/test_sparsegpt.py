"""tinyllm.compression.sparsegpt"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.compression.masks import MATRIX, NofM, Unstructured, lowest, pruned
from tinyllm.compression.scores import wanda_scores
from tinyllm.compression.sparsegpt import sparsegpt
from tinyllm.errors import UsageError

patterns = st.sampled_from([
    Unstructured(sparsity=0.5), Unstructured(sparsity=0.3, within=MATRIX), NofM(zeros=2, of=4),
    NofM(zeros=4, of=8),
])  # fmt: skip


def data(rng, D, C, N=200):
    """Weights, and correlated inputs with outliers."""
    x = rng.standard_normal((N, C)) @ rng.standard_normal((C, C)) * np.exp(rng.standard_normal(C))
    return rng.standard_normal((D, C)), x


def by_the_definition(weight, gram, pattern, columns, damping=0.01):
    """One column after the other, the inverse of the remaining Gram matrix made anew for each."""
    W, C = weight.copy(), weight.shape[1]
    H = gram + damping * np.mean(np.diag(gram)) * np.eye(C)
    inverse = {j: np.linalg.inv(H[j:, j:]) for j in range(C)}
    step = columns if isinstance(pattern, Unstructured) else pattern.of
    mask = np.zeros(W.shape, bool)
    for j in range(C):
        if j % step == 0:
            here = range(j, min(j + step, C))
            cost = np.stack([W[:, k] ** 2 / inverse[k][0, 0] for k in here], axis=1)
            if isinstance(pattern, Unstructured):
                order = np.argsort(cost.reshape(-1), kind="stable")
                chosen = np.zeros(cost.size, bool)
                chosen[order[: int(cost.size * pattern.sparsity + 1e-9)]] = True
                mask[:, here] = chosen.reshape(cost.shape)
            else:
                for i, row in enumerate(cost):
                    mask[i, j + np.argsort(row, kind="stable")[: pattern.zeros]] = True
        lost = np.where(mask[:, j], W[:, j], 0.0)
        W[:, j:] -= lost[:, None] * inverse[j][0] / inverse[j][0, 0]
    W[mask] = 0.0
    return W


@settings(max_examples=15)
@given(st.integers(1, 5), st.sampled_from([8, 16, 24]), patterns, st.sampled_from([8, 128]), rngs)
def test_it_equals_the_definition_column_by_column(D, C, pattern, columns, rng):
    weight, x = data(rng, D, C)
    expected = by_the_definition(weight, x.T @ x, pattern, columns)
    found = sparsegpt(weight, x.T @ x, pattern, columns=columns)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    assert np.array_equal(found == 0, expected == 0)


@given(st.integers(1, 5), rngs)
def test_the_zeros_are_exactly_as_many_as_asked_for(D, rng):
    weight, x = data(rng, D, 16)
    gram = x.T @ x
    assert (sparsegpt(weight, gram, Unstructured(sparsity=0.5)) == 0).sum() == D * 8
    groups = sparsegpt(weight, gram, NofM(zeros=2, of=4)).reshape(D, 4, 4)
    assert ((groups == 0).sum(axis=-1) == 2).all()


def test_a_run_is_widened_to_whole_groups():
    weight, x = data(np.random.default_rng(1), 3, 16)
    found = sparsegpt(weight, x.T @ x, NofM(zeros=4, of=8), columns=3)
    np.testing.assert_allclose(found, sparsegpt(weight, x.T @ x, NofM(zeros=4, of=8)), atol=1e-9)


@pytest.mark.parametrize("pattern", [Unstructured(sparsity=0.5), NofM(zeros=2, of=4)])
def test_it_changes_outputs_less_than_wanda_on_correlated_inputs(pattern):
    rng, ratios = np.random.default_rng(0), []
    for _ in range(8):
        weight, x = data(rng, 24, 32)
        wanda = pruned(weight, lowest(wanda_scores(weight, np.linalg.norm(x, axis=0)), pattern))
        errors = [
            np.linalg.norm(x @ (weight - w).T) for w in (sparsegpt(weight, x.T @ x, pattern), wanda)
        ]
        ratios.append(errors[0] / errors[1])
    assert np.mean(ratios) < 0.95, ratios


def test_nothing_to_prune_leaves_the_very_bytes():
    weight = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    assert sparsegpt(weight, np.eye(8), Unstructured(sparsity=0.0)) is weight


def test_inputs_that_are_always_zero_go_first_and_break_nothing():
    weight, x = data(np.random.default_rng(2), 3, 8)
    x[:, [1, 5]] = 0.0
    found = sparsegpt(weight.astype(np.float32), x.T @ x, Unstructured(sparsity=0.5))
    assert found.dtype == np.float32
    assert not found[:, [1, 5]].any()
    assert np.isfinite(sparsegpt(weight, np.zeros((8, 8)), Unstructured(sparsity=0.5))).all()


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="these have 6"):
        sparsegpt(np.ones((2, 6)), np.eye(6), NofM(zeros=2, of=4))
