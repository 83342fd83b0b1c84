"""tinyllm.ops.negative_sampling"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, scales, sizes
from tinyllm.ops.negative_sampling import negative_sampling_backward, negative_sampling_forward


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loss_of(xp, *arrays, negatives):
    loss, _ = negative_sampling_forward(xp, *map(xp.asarray, arrays), negatives=negatives)
    return xp.to_numpy(loss)


def draw_arrays(rng, N, C, S, D, scale=1.0):
    x, targets, noise = (scale * rng.standard_normal(s) for s in ((N, D), (N, C, D), (S, D)))
    return x, targets, rng.random((N, C)) * (rng.random((N, C)) < 0.8), noise


@given(sizes, sizes, sizes, sizes, scales, rngs)
def test_negative_sampling(xp, N, C, S, D, scale, rng):
    x, targets, weight, noise = draw_arrays(rng, N, C, S, D, scale)
    weights = xp.asarray(weight)

    def forward(xp, x, targets, noise):
        return negative_sampling_forward(xp, x, targets, weights, noise, negatives=3)

    def backward(xp, dy, saved):
        dx, dtargets, dweight, dnoise = negative_sampling_backward(xp, dy, saved)
        assert dweight is None
        return dx, dtargets, dnoise

    forward.__doc__ = "x (N, D), targets (N, C, D), noise (S, D) -> loss (N)"
    check_pair(xp, forward, backward, x, targets, noise, rng=rng, tolerance=1e-6)


@given(sizes, sizes, rngs)
def test_one_pair_with_its_own_noise_is_the_formula_of_the_paper(xp, k, D, rng):
    v, u, n = rng.standard_normal(D), rng.standard_normal(D), rng.standard_normal((k, D))
    arrays = [v[None], u[None, None], np.ones((1, 1)), n]
    expected = -np.log(sigmoid(v @ u)) - np.log(sigmoid(-n @ v)).sum()
    assert loss_of(xp, *arrays, negatives=k) == pytest.approx(expected, rel=1e-12)
    _, saved = negative_sampling_forward(xp, *map(xp.asarray, arrays), negatives=k)
    dv, du, _, dn = negative_sampling_backward(xp, xp.asarray(np.ones(1)), saved)
    wanted = (sigmoid(v @ u) - 1) * u + sigmoid(n @ v) @ n
    np.testing.assert_allclose(xp.to_numpy(dv)[0], wanted, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(xp.to_numpy(du)[0, 0], (sigmoid(v @ u) - 1) * v, atol=1e-14)
    np.testing.assert_allclose(xp.to_numpy(dn), sigmoid(n @ v)[:, None] * v, atol=1e-14)


@given(sizes, sizes, sizes, rngs)
def test_turning_all_vectors_together_changes_no_loss_and_none_is_negative(xp, N, C, S, rng):
    x, targets, weight, noise = draw_arrays(rng, N, C, S, 4)
    turn, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    loss = loss_of(xp, x, targets, weight, noise, negatives=5)
    turned = loss_of(xp, x @ turn, targets @ turn, weight, noise @ turn, negatives=5)
    np.testing.assert_allclose(loss, turned, rtol=1e-12, atol=1e-13)
    assert (loss >= 0).all()


@given(sizes, sizes, rngs)
def test_a_target_of_weight_0_is_not_there(xp, N, S, rng):
    x, targets, weight, noise = draw_arrays(rng, N, 3, S, 4)
    weight[:, 2] = 0
    kept = loss_of(xp, x, targets[:, :2], weight[:, :2], noise, negatives=2)
    np.testing.assert_allclose(
        loss_of(xp, x, targets, weight, noise, negatives=2), kept, rtol=1e-14
    )
    _, saved = negative_sampling_forward(
        xp, *map(xp.asarray, (x, targets, weight, noise)), negatives=2
    )
    _, dtargets, _, _ = negative_sampling_backward(xp, xp.asarray(np.ones(N)), saved)
    assert not xp.to_numpy(dtargets)[:, 2].any()


@pytest.mark.parametrize("score", [-1e4, 1e4])
def test_large_scores_neither_overflow_nor_vanish(xp, score):
    x, one = np.asarray([[score]]), np.ones((1, 1))
    pulled = loss_of(xp, x, one[None], one, 0 * one, negatives=1)
    assert pulled == pytest.approx(max(0, -score) + np.log(2))
    pushed = loss_of(xp, x, 0 * one[None], one, one, negatives=1)
    assert pushed == pytest.approx(max(0, score) + np.log(2))


@given(st.integers(1, 9), rngs)
def test_drawing_more_noise_changes_the_mean_loss_not_its_size(xp, S, rng):
    x, targets, weight, noise = draw_arrays(rng, 3, 2, 1, 4)
    once = loss_of(xp, x, targets, weight, noise, negatives=5)
    often = loss_of(xp, x, targets, weight, np.repeat(noise, S, axis=0), negatives=5)
    np.testing.assert_allclose(often, once, rtol=1e-12)
