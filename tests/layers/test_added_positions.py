"""tinyllm.layers.positions"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layers.test_layers import check_layer
from strategies import rngs, sizes
from tinyllm.errors import UsageError
from tinyllm.layers.positions import (
    add_learned_backward,
    add_learned_forward,
    add_sinusoidal_backward,
    add_sinusoidal_forward,
)


@given(sizes, sizes, sizes, st.booleans(), st.integers(0, 3), rngs)
def test_learned_positions(xp, B, T, D, padded, more, rng):
    positions = np.arange(T) - (rng.integers(0, T, (B, 1)) if padded else 0)
    x, shapes = rng.standard_normal((B, T, D)), {"weight": (T + more, D)}
    pair = add_learned_forward, add_learned_backward
    check_layer(xp, *pair, x, shapes, rng, positions=positions)


def test_a_row_is_added_for_each_position(xp):
    x, weight = np.zeros((2, 2, 3)), np.arange(12.0).reshape(4, 3)
    for positions in (np.array([2, 3]), np.array([[0, 1], [3, 2]])):
        p = {"weight": xp.asarray(weight)}
        y, _ = add_learned_forward(xp, xp.asarray(x), p, positions=positions)
        np.testing.assert_array_equal(xp.to_numpy(y), x + weight[positions])


def test_a_position_beyond_the_table_is_refused(xp):
    p, x = {"weight": xp.asarray(np.zeros((4, 3)))}, xp.asarray(np.zeros((1, 2, 3)))
    add_learned_forward(xp, x, p, positions=np.array([2, 3]))
    with pytest.raises(UsageError, match="learned 4 positions, and the text has 5"):
        add_learned_forward(xp, x, p, positions=np.array([3, 4]))


def test_padding_may_be_longer_than_the_table(xp):
    p, x = {"weight": xp.asarray(np.ones((4, 3)))}, xp.asarray(np.zeros((1, 2, 3)))
    y, _ = add_learned_forward(xp, x, p, positions=np.array([[-9, 0]]))
    assert xp.to_numpy(y)[0, 1].tolist() == [1, 1, 1]


def test_an_empty_text_needs_no_position(xp):
    p, x = {"weight": xp.asarray(np.zeros((4, 3)))}, xp.asarray(np.zeros((1, 0, 3)))
    assert add_learned_forward(xp, x, p, positions=np.arange(0))[0].shape == (1, 0, 3)


@given(sizes, sizes, sizes, rngs)
def test_sinusoidal_positions(xp, B, T, D, rng):
    x, pair = rng.standard_normal((B, T, D)), (add_sinusoidal_forward, add_sinusoidal_backward)
    check_layer(xp, *pair, x, {}, rng, positions=np.arange(T))


def test_what_is_added_is_the_table_of_the_paper(xp):
    y, _ = add_sinusoidal_forward(
        xp, xp.asarray(np.ones((1, 2, 5))), {}, positions=np.array([3, 4])
    )
    a, b = (1 / 10000 ** (2 * i / 5) for i in (1, 2))
    expected = [[np.sin(p), np.cos(p), np.sin(p * a), np.cos(p * a), np.sin(p * b)] for p in (3, 4)]
    np.testing.assert_allclose(xp.to_numpy(y)[0] - 1, expected, atol=1e-14)


def test_a_narrow_table_is_added_in_the_dtype_of_the_rest():
    import ml_dtypes

    import tinyllm_numpy

    p = {"weight": np.ones((4, 3), ml_dtypes.bfloat16)}
    x = np.zeros((1, 2, 3), np.float32)
    assert add_learned_forward(tinyllm_numpy, x, p, positions=np.arange(2))[0].dtype == np.float32
