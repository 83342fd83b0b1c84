"""tinyllm.ops.glove"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, sizes
from tinyllm.ops.glove import glove_backward, glove_forward


@given(sizes, sizes, st.sampled_from([0.5, 0.75, 1.0]), rngs)
def test_glove(xp, N, D, alpha, rng):
    counts = xp.asarray(10 ** rng.uniform(-1, 3, N))

    def forward(xp, x, y, x_bias, y_bias):
        return glove_forward(xp, x, y, x_bias, y_bias, counts, x_max=10.0, alpha=alpha)

    def backward(xp, dloss, saved):
        *grads, dcounts = glove_backward(xp, dloss, saved)
        assert dcounts is None
        return tuple(grads)

    forward.__doc__ = "x (N, D), y (N, D), x_bias (N), y_bias (N) -> loss (N)"
    arrays = [*rng.standard_normal((2, N, D)), *rng.standard_normal((2, N))]
    check_pair(xp, forward, backward, *arrays, rng=rng)


def loss_of(xp, x, y, b, c, counts, **options):
    arrays = (xp.asarray(np.asarray(a, np.float64)) for a in (x, y, b, c, counts))
    return xp.to_numpy(glove_forward(xp, *arrays, **options)[0])


def test_by_hand(xp):
    # 1·3 + 2·(-1) + 0.5 - 0.25 = 1.25
    arrays = [[[1, 2]], [[3, -1]], [0.5], [-0.25]]
    expected = (16 / 100) ** 0.75 * (1.25 - np.log(16)) ** 2
    assert loss_of(xp, *arrays, [16]) == pytest.approx(expected, rel=1e-14)
    assert loss_of(xp, *arrays, [16], x_max=16.0) == pytest.approx((1.25 - np.log(16)) ** 2)
    assert loss_of(xp, *arrays, [400]) == pytest.approx((1.25 - np.log(400)) ** 2, rel=1e-14)


@given(sizes, sizes, rngs)
def test_a_perfect_fit_has_neither_loss_nor_gradient(xp, N, D, rng):
    x, y = rng.standard_normal((2, N, D))
    b, c = rng.standard_normal((2, N))
    counts = np.exp((x * y).sum(1) + b + c)
    arrays = [xp.asarray(a) for a in (x, y, b, c, counts)]
    loss, saved = glove_forward(xp, *arrays)
    np.testing.assert_allclose(xp.to_numpy(loss), 0, atol=1e-26)
    for grad in glove_backward(xp, xp.ones_like(loss), saved)[:4]:
        np.testing.assert_allclose(xp.to_numpy(grad), 0, atol=1e-12)
