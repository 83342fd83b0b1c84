"""tinyllm.central_differences: does it see the mistakes that people make?"""

import numpy as np
import pytest

from tinyllm.central_differences import gradient_error
from tinyllm.ops.activations import silu_forward
from tinyllm.ops.linear import linear_backward, linear_forward
from tinyllm.ops.norms import layernorm_forward, rmsnorm_forward
from tinyllm.ops.softmax import softmax_forward

rng = np.random.default_rng(3)
X, GAIN = rng.standard_normal((3, 4)), rng.standard_normal(4)


def rmsnorm_without_its_correction(xp, dy, saved):
    x, rstd, weight = saved
    return rstd * dy * weight, xp.sum(dy * x * rstd, axis=0)


def rmsnorm_with_a_sum_for_the_mean(xp, dy, saved):
    x, rstd, weight = saved
    xhat, dxhat = x * rstd, dy * weight
    dx = rstd * (dxhat - xhat * xp.sum(dxhat * xhat, axis=-1, keepdims=True))
    return dx, xp.sum(dy * xhat, axis=0)


def layernorm_without_its_means(xp, dy, saved):
    x, mean, rstd, weight, _ = saved
    xhat = (x - mean) * rstd
    return rstd * dy * weight, xp.sum(dy * xhat, axis=0), xp.sum(dy, axis=0)


def layernorm_without_the_second_mean(xp, dy, saved):
    x, mean, rstd, weight, _ = saved
    xhat = (x - mean) * rstd
    dxhat = dy * weight
    dx = rstd * (dxhat - xp.mean(dxhat, axis=-1, keepdims=True))
    return dx, xp.sum(dy * xhat, axis=0), xp.sum(dy, axis=0)


def softmax_as_if_elementwise(xp, dy, saved):
    (y,) = saved
    return dy * y * (1 - y)


def softmax_of_zero(xp, dy, saved):
    return 0 * dy


def silu_without_its_second_term(xp, dy, saved):
    return dy * saved[1]


def bias_averaged(xp, dy, saved):
    dx, dweight, dbias = linear_backward(xp, dy, saved)
    return dx, dweight, dbias / dy.shape[0]


def batch_averaged_twice(xp, dy, saved):
    dx, dweight, dbias = linear_backward(xp, dy, saved)
    return dx, dweight / dy.shape[0], dbias


MISTAKES = [
    (rmsnorm_forward, rmsnorm_without_its_correction, (X, GAIN), {"eps": 1e-5}),
    (rmsnorm_forward, rmsnorm_with_a_sum_for_the_mean, (X, GAIN), {"eps": 1e-5}),
    (layernorm_forward, layernorm_without_its_means, (X, GAIN, GAIN), {"eps": 1e-5}),
    (layernorm_forward, layernorm_without_the_second_mean, (X, GAIN, GAIN), {"eps": 1e-5}),
    (softmax_forward, softmax_as_if_elementwise, (X,), {}),
    (softmax_forward, softmax_of_zero, (X,), {}),
    (silu_forward, silu_without_its_second_term, (X,), {}),
    (linear_forward, bias_averaged, (X, rng.standard_normal((5, 4)), rng.standard_normal(5)), {}),
    (linear_forward, batch_averaged_twice, (X, rng.standard_normal((5, 4)), np.ones(5)), {}),
]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case[1].__name__)
def test_a_planted_mistake_is_seen(xp, case):
    forward, backward, arrays, options = case
    assert gradient_error(xp, forward, backward, *arrays, rng=rng, **options) > 1e-3


def test_a_gradient_for_an_absent_argument_is_refused(xp):
    def backward(xp, dy, saved):
        dx, dweight, _ = linear_backward(xp, dy, saved)
        return dx, dweight, xp.sum(dy, axis=0)

    with pytest.raises(AssertionError, match="has no gradient"):
        gradient_error(xp, linear_forward, backward, X, X, None, rng=rng)
