"""tinyllm.ops.softmax"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, scales, sizes
from tinyllm.ops import softmax

PAIRS = {
    "softmax": (softmax.softmax_forward, softmax.softmax_backward),
    "log_softmax": (softmax.log_softmax_forward, softmax.log_softmax_backward),
}


@pytest.mark.parametrize("name", PAIRS)
@given(sizes, sizes, rngs)
def test_pair(xp, name, N, D, rng):
    check_pair(xp, *PAIRS[name], rng.standard_normal((2, N, D)), rng=rng)


@given(sizes, scales, st.floats(-1e3, 1e3), rngs)
def test_rows_sum_to_one_and_a_shift_changes_nothing(xp, D, scale, shift, rng):
    x = scale * rng.standard_normal((3, D))
    y = xp.to_numpy(softmax.softmax_forward(xp, xp.asarray(x))[0])
    shifted = xp.to_numpy(softmax.softmax_forward(xp, xp.asarray(x + shift))[0])
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-14)
    np.testing.assert_allclose(shifted, y, atol=1e-12)
    assert (np.argsort(y, axis=-1, kind="stable") == np.argsort(x, axis=-1, kind="stable")).all()


@given(sizes, scales, rngs)
def test_log_softmax_is_the_logarithm_of_softmax(xp, D, scale, rng):
    x = xp.asarray(scale * rng.standard_normal((3, D)))
    y = xp.to_numpy(softmax.log_softmax_forward(xp, x)[0])
    np.testing.assert_allclose(
        np.exp(y), xp.to_numpy(softmax.softmax_forward(xp, x)[0]), atol=1e-15
    )


def test_a_row_without_a_choice_gives_zeros_and_no_gradient(xp):
    x = xp.asarray(np.array([[-np.inf, -np.inf], [0.0, -np.inf]]))
    y, saved = softmax.softmax_forward(xp, x)
    assert xp.to_numpy(y).tolist() == [[0, 0], [1, 0]]
    assert (
        xp.to_numpy(softmax.softmax_backward(xp, xp.ones_like(y), saved)).tolist() == [[0, 0]] * 2
    )
    y, saved = softmax.log_softmax_forward(xp, x)
    assert xp.to_numpy(y).tolist() == [[-np.inf, -np.inf], [0, -np.inf]]
    dx = softmax.log_softmax_backward(xp, xp.asarray(np.zeros((2, 2))), saved)
    assert xp.to_numpy(dx).tolist() == [[0, 0]] * 2


def test_large_scores_do_not_overflow(xp):
    y, _ = softmax.softmax_forward(xp, xp.asarray(np.float32([1e30, 1e4, -1e30])))
    assert xp.to_numpy(y).tolist() == [1, 0, 0]
