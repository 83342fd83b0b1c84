"""tinyllm.ops.dropout"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, sizes
from tinyllm.errors import UsageError
from tinyllm.ops.dropout import Dropout, dropout_backward, dropout_forward

rates = st.sampled_from([0.0, 0.1, 0.5, 0.9])


def drop(xp, x, rate, seed=0):
    dropout = Dropout(rate=rate, rng=np.random.default_rng(seed))
    return xp.to_numpy(dropout_forward(xp, xp.asarray(x), dropout=dropout)[0])


@given(st.lists(sizes, max_size=3), rates, rngs)
def test_dropout(xp, shape, rate, rng):
    seed = int(rng.integers(100))

    def forward(xp, x):
        dropout = Dropout(rate=rate, rng=np.random.default_rng(seed))  # the same mask at each call
        return dropout_forward(xp, x, dropout=dropout)

    forward.__doc__ = dropout_forward.__doc__
    check_pair(xp, forward, dropout_backward, rng.standard_normal(tuple(shape)), rng=rng)


@given(rates, rngs)
def test_what_is_kept_is_scaled_and_the_rest_is_zero(xp, rate, rng):
    x = rng.standard_normal((4, 5))
    y = drop(xp, x, rate)
    assert np.isclose(y, x / (1 - rate), rtol=1e-15)[y != 0].all()


def test_the_mean_stays_and_the_rate_is_met(xp):
    y = drop(xp, np.ones((300, 300)), 0.3)
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)  # six standard deviations
    assert y.mean() == pytest.approx(1, abs=0.015)


def test_a_mask_is_the_generators_whatever_backend_and_dtype(xp):
    import tinyllm_numpy

    x = np.ones((7, 9))
    expected = drop(tinyllm_numpy, x, 0.5, seed=3) != 0
    assert np.array_equal(drop(xp, x, 0.5, seed=3) != 0, expected)
    assert np.array_equal(drop(xp, x.astype(np.float32), 0.5, seed=3) != 0, expected)
    assert not np.array_equal(drop(xp, x, 0.5, seed=4) != 0, expected)


def test_two_draws_of_one_generator_differ(xp):
    dropout = Dropout(rate=0.5, rng=np.random.default_rng(0))
    first, second = (dropout_forward(xp, xp.asarray(np.ones(64)), dropout=dropout) for _ in "ab")
    assert not np.array_equal(xp.to_numpy(first[0]), xp.to_numpy(second[0]))


@pytest.mark.parametrize("rate", [None, 0.0])
def test_without_dropout_x_passes_and_nothing_is_drawn(xp, rate):
    rng, x = np.random.default_rng(0), xp.asarray(np.ones((2, 3)))
    before = rng.bit_generator.state
    dropout = None if rate is None else Dropout(rate=rate, rng=rng)
    y, saved = dropout_forward(xp, x, dropout=dropout)
    assert y is x
    assert dropout_backward(xp, y, saved) is y
    assert rng.bit_generator.state == before


def test_an_infinite_number_can_be_dropped(xp):
    y = drop(xp, np.full(64, np.inf), 0.5)
    assert set(y) == {0.0, np.inf}


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_a_rate_outside_its_range_is_refused(rate):
    with pytest.raises(UsageError, match="expected 0 ≤ rate < 1"):
        Dropout(rate=rate, rng=np.random.default_rng(0))
