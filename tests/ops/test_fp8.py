"""tinyllm.ops.fp8: the rounding, the rotation, and attention with both."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs, scales
from tinyllm.errors import UsageError
from tinyllm.ops.attention import attention_forward
from tinyllm.ops.fp8 import fp8_attention, hadamard, incoherent, round_to_e4m3, through_e4m3


def by_definition(x):
    """Steps of 1/8 of a power of two, that power at least 2⁻⁶, halves to the even number."""
    with np.errstate(divide="ignore"):
        exponent = np.maximum(np.floor(np.log2(np.abs(x))), -6)
    step = 2.0 ** (exponent - 3)
    return np.clip(np.round(x / step) * step, -448, 448)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_to_the_nearest_number_of_e4m3(xp, dtype):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(5000) * 2.0 ** rng.integers(-12, 12, 5000)).astype(dtype)
    rounded = xp.to_numpy(round_to_e4m3(xp, xp.asarray(x)))
    assert rounded.dtype == dtype
    assert np.array_equal(rounded, by_definition(x))
    assert np.array_equal(xp.to_numpy(round_to_e4m3(xp, xp.asarray(rounded))), rounded)


@pytest.mark.parametrize(
    ("x", "y"),
    [(448.0, 448.0), (1e9, 448.0), (-np.inf, -448.0), (2.0**-9, 2.0**-9), (2.0**-10, 0.0),
     (2.0**-9 * 1.5, 2.0**-8), (1.0625, 1.0), (1.1875, 1.25), (0.0, 0.0), (17.0, 16.0)],
)  # fmt: skip
def test_rounding_by_hand(x, y):
    assert round_to_e4m3(tinyllm_numpy, np.float32(x)) == y


@given(st.integers(0, 5), rngs, scales)
def test_the_transform_is_multiplication_by_hadamards_matrix(xp, log_d, rng, scale):
    H = np.ones((1, 1))
    for _ in range(log_d):
        H = np.block([[H, H], [H, -H]])
    x = scale * rng.standard_normal((2, 3, len(H)))
    y = xp.to_numpy(hadamard(xp, xp.asarray(x)))
    np.testing.assert_allclose(y, x @ H / np.sqrt(len(H)), atol=1e-14 * scale)


@given(st.sampled_from([1, 2, 8, 64]), rngs)
def test_a_rotation_of_queries_and_keys_leaves_their_products_and_spreads_an_outlier(xp, d, rng):
    q, k, signs = *rng.standard_normal((2, 5, d)), rng.choice([-1.0, 1.0], d)
    turned = [xp.to_numpy(incoherent(xp, xp.asarray(x), xp.asarray(signs))) for x in (q, k)]
    np.testing.assert_allclose(turned[0] @ turned[1].T, q @ k.T, atol=1e-12)
    rotation = xp.to_numpy(incoherent(xp, xp.asarray(np.eye(d)), xp.asarray(signs)))
    np.testing.assert_allclose(np.abs(rotation), d**-0.5)
    np.testing.assert_allclose(rotation[:, 0], signs * d**-0.5)  # H's first column is of ones


@pytest.mark.parametrize("d", [0, 3, 48])
def test_a_transform_of_no_power_of_two_is_refused(d):
    with pytest.raises(UsageError, match="a power of two"):
        hadamard(tinyllm_numpy, np.zeros((2, d)))


@given(st.integers(1, 9), st.sampled_from([None, 1, 4, 20]), rngs, scales)
def test_what_is_left_of_x_is_near_it_by_the_scale_of_its_block(xp, n, block, rng, scale):
    """Half a step of e4m3 is a sixteenth of the number, or 2⁻¹⁰ of the scale below 2⁻⁶."""
    x = scale * rng.standard_normal((2, 1, n, 4))
    y = xp.to_numpy(through_e4m3(xp, xp.asarray(x), block=block))
    assert y.shape == x.shape
    for b in range(2):
        for start in range(0, n, block or n):
            rows = slice(start, start + (block or n))
            part, s = x[b, :, rows], np.abs(x if block is None else x[b, :, rows]).max() / 448
            bound = np.maximum(np.abs(part) / 16, s * 2.0**-10) * (1 + 1e-12)
            assert (np.abs(y[b, :, rows] - part) <= bound).all()
            if block is not None:  # the largest of a block is kept
                np.testing.assert_allclose(np.abs(y[b, :, rows]).max(), s * 448, rtol=1e-12)


def test_zeros_stay_zeros():
    assert not through_e4m3(tinyllm_numpy, np.zeros((1, 1, 4, 2)), block=3).any()


def test_numbers_that_e4m3_has_are_attended_to_but_for_the_rounding_of_probabilities(xp):
    """A single key has the probability 1, so that its value comes out as it is."""
    v = np.float32([[[[448.0, -1.0, 0.5]]]])
    q = xp.asarray(np.ones((1, 1, 2, 4), np.float32))
    o = xp.to_numpy(fp8_attention(xp, q, q[:, :, :1, :], xp.asarray(v)))
    assert np.array_equal(o, np.broadcast_to(v, (1, 1, 2, 3)))


@pytest.mark.parametrize("signs", [None, 0])
@pytest.mark.parametrize("block", [None, 16])
def test_attention_in_8_bits_is_near_attention(xp, block, signs):
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 2, 2, 50, 16)).astype(np.float32)
    signs = signs if signs is None else xp.asarray(rng.choice([-1.0, 1.0], 16).astype(np.float32))
    o = fp8_attention(xp, *(xp.asarray(x) for x in (q, k, v)), block=block, signs=signs)
    assert o.dtype == xp.float32
    difference = xp.to_numpy(o) - attention_forward(tinyllm_numpy, q, k, v)[0]
    assert 0.005 < np.sqrt(np.mean(difference**2)) < 0.02


@pytest.mark.parametrize("block", [None, 2])
def test_attention_in_8_bits_rounds_queries_keys_values_and_probabilities(block):
    def rounded(x):
        scales = [np.abs(x if block is None else x[n // block * block :][:block]).max() / 448
                  for n in range(len(x))]  # fmt: skip
        return by_definition(x / np.c_[scales]) * np.c_[scales]

    q, k, v = np.random.default_rng(0).standard_normal((3, 5, 4)) * [[1], [1], [1], [1], [9]]
    probs = np.exp(rounded(q) @ rounded(k).T / 2)
    probs /= probs.max(axis=1, keepdims=True)
    expected = by_definition(probs) @ rounded(v) / probs.sum(axis=1, keepdims=True)
    o = fp8_attention(tinyllm_numpy, *(x[None, None] for x in (q, k, v)), block=block)
    np.testing.assert_allclose(o[0, 0], expected, atol=1e-12)
