"""tinyllm.ops.norms"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, scales, sizes
from tinyllm.ops import norms


@given(sizes, sizes, rngs)
def test_rmsnorm(xp, N, D, rng):
    x, weight = rng.standard_normal((2, N, D)), rng.standard_normal(D)
    check_pair(xp, norms.rmsnorm_forward, norms.rmsnorm_backward, x, weight, rng=rng, eps=1e-2)


@given(sizes, sizes, st.booleans(), rngs)
def test_layernorm(xp, N, D, biased, rng):
    x, weight = rng.standard_normal((2, N, D)), rng.standard_normal(D)
    bias = rng.standard_normal(D) if biased else None
    pair = norms.layernorm_forward, norms.layernorm_backward
    check_pair(xp, *pair, x, weight, bias, rng=rng, eps=1e-2)


@given(st.floats(1e-3, 1e3), rngs)
def test_rmsnorm_ignores_the_length_of_x_but_not_a_shift(xp, scale, rng):
    x, gain = rng.standard_normal((3, 4)), rng.standard_normal(4)

    def rmsnorm(x):
        return xp.to_numpy(norms.rmsnorm_forward(xp, xp.asarray(x), xp.asarray(gain), eps=0.0)[0])

    np.testing.assert_allclose(rmsnorm(scale * x), rmsnorm(x), rtol=1e-12)
    assert not np.allclose(rmsnorm(x + 1.0), rmsnorm(x), rtol=1e-3)


@given(st.floats(1e-3, 1e3), st.floats(-100, 100), rngs)
def test_layernorm_ignores_scale_and_shift(xp, scale, shift, rng):
    x, one = rng.standard_normal((3, 4)), xp.asarray(np.ones(4))

    def layernorm(x):
        return xp.to_numpy(norms.layernorm_forward(xp, xp.asarray(x), one, eps=0.0)[0])

    np.testing.assert_allclose(layernorm(scale * x + shift), layernorm(x), atol=1e-7)
    np.testing.assert_allclose(layernorm(x).mean(-1), 0, atol=1e-14)
    np.testing.assert_allclose(layernorm(x).std(-1), 1, rtol=1e-12)


@given(scales, rngs)
def test_the_gradient_of_layernorm_has_no_part_along_one_or_x(xp, scale, rng):
    x, weight = scale * rng.standard_normal((3, 6)), rng.standard_normal(6)
    y, saved = norms.layernorm_forward(xp, xp.asarray(x), xp.asarray(weight), eps=0.0)
    dx, *_ = norms.layernorm_backward(xp, xp.asarray(rng.standard_normal(y.shape)), saved)
    dx, xhat = xp.to_numpy(dx), (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    size = np.abs(dx).sum()
    assert np.abs(dx.sum(-1)).max() < 1e-10 * size
    assert np.abs((dx * xhat).sum(-1)).max() < 1e-10 * size


def test_layernorm_does_not_cancel_far_from_zero(xp):
    x = np.float32([[1e4, 1e4 + 1, 1e4 + 2, 1e4 + 3]])
    one = xp.asarray(np.ones(4, np.float32))
    y, _ = norms.layernorm_forward(xp, xp.asarray(x), one, eps=0.0)
    exact = (np.arange(4) - 1.5) / np.sqrt(1.25)
    np.testing.assert_allclose(xp.to_numpy(y)[0], exact, rtol=1e-6)


@pytest.mark.parametrize("eps", [1e-6, 1e-1])
def test_the_epsilon_stands_under_the_root(xp, eps):
    x = np.array([[3.0, 4.0]])
    y, _ = norms.rmsnorm_forward(xp, xp.asarray(x), xp.asarray(np.ones(2)), eps=eps)
    np.testing.assert_allclose(xp.to_numpy(y), x / np.sqrt(12.5 + eps), rtol=1e-15)
