"""tinyllm.ops.alibi"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import rngs, sizes
from tinyllm.ops.alibi import alibi_bias, alibi_slopes, falcon_alibi_bias
from tinyllm.ops.attention import attention_forward, attention_mask


def test_slopes_of_powers_of_two_are_those_of_the_paper():
    np.testing.assert_allclose(alibi_slopes(8), [2.0**-h for h in range(1, 9)], rtol=1e-15)
    np.testing.assert_allclose(
        alibi_slopes(16), [2.0 ** (-h / 2) for h in range(1, 17)], rtol=1e-15
    )
    np.testing.assert_allclose(alibi_slopes(1), [2.0**-8], rtol=1e-15)


def test_slopes_between_powers_of_two():
    halves = [2.0 ** (-8 * h / 4) for h in range(1, 5)]
    np.testing.assert_allclose(alibi_slopes(6), [*halves, 2.0**-1, 2.0**-3], rtol=1e-15)
    np.testing.assert_allclose(alibi_slopes(7), [*halves, 2.0**-1, 2.0**-3, 2.0**-5], rtol=1e-15)
    np.testing.assert_allclose(alibi_slopes(3), [2.0**-4, 2.0**-8, 2.0**-2], rtol=1e-15)


@given(st.integers(1, 300))
def test_every_head_has_a_slope_of_its_own(H):
    slopes = alibi_slopes(H)
    assert slopes.shape == (H,)
    assert len(set(slopes)) == H
    assert (slopes > 0).all()
    assert (slopes <= 1).all()


def test_the_bias_is_the_slope_times_the_distance(xp):
    slopes, distances = np.array([0.5, 0.25]), np.array([[0, -1, -2], [1, 0, -1]])
    bias = alibi_bias(xp, xp.asarray(distances), xp.asarray(slopes))
    expected = [[[0, 0.5, 1], [-0.5, 0, 0.5]], [[0, 0.25, 0.5], [-0.25, 0, 0.25]]]
    assert xp.to_numpy(bias).tolist() == expected


@given(sizes, sizes, rngs)
def test_adding_the_position_of_the_key_alone_is_the_same(xp, T, H, rng):
    """BLOOM adds m j, which differs by a number that all keys of a query have in common."""
    q, k, v = (rng.standard_normal((1, H, T, 3)) for _ in range(3))
    at, slopes = np.arange(T), alibi_slopes(H)
    seen = attention_mask(xp, xp.asarray(at), xp.asarray(at))
    distances = xp.asarray(at[:, None] - at[None, :])
    biases = alibi_bias(xp, distances, xp.asarray(slopes)), xp.asarray(slopes[:, None, None] * at)
    o = [
        xp.to_numpy(attention_forward(xp, *map(xp.asarray, (q, k, v)), bias, mask=seen)[0])
        for bias in biases
    ]
    np.testing.assert_allclose(o[0], o[1], atol=1e-13)


@pytest.mark.parity
@pytest.mark.parametrize("H", [1, 2, 3, 6, 8, 12, 20, 71, 112])
def test_slopes_are_those_of_bloom(H):
    torch = pytest.importorskip("torch")
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    ones = torch.ones(1, 2, dtype=torch.int64)
    theirs = bloom.build_alibi_tensor(ones, H, torch.float32)[:, 0, 1].numpy()
    np.testing.assert_allclose(alibi_slopes(H), theirs, rtol=1e-5)


def test_falcons_bias_is_rounded_to_8_bits_at_each_step():
    bias = falcon_alibi_bias(np.arange(400), 6)
    assert bias.shape == (6, 1, 400)
    assert (bias[:, 0, 0] == 0).all()
    np.testing.assert_array_equal(bias[0, 0, :5], [0, 0.25, 0.5, 0.75, 1.0])
    assert bias[0, 0, 257] == bias[0, 0, 256] == 64.0  # 257 is no bfloat16
    exact = alibi_slopes(6)[:, None] * np.arange(400)
    assert 0 < np.abs(bias[:, 0] - exact).max() <= 2.0**-7 * exact.max()


@pytest.mark.parity
def test_falcons_bias_is_that_of_torch():
    torch = pytest.importorskip("torch")
    positions = np.arange(3000)
    for heads in (6, 8, 71):
        slopes = torch.tensor(alibi_slopes(heads), dtype=torch.float32)[:, None].bfloat16()
        expected = (slopes * torch.tensor(positions)).double().numpy()
        np.testing.assert_array_equal(falcon_alibi_bias(positions, heads)[:, 0], expected)


def test_falcons_bias_counts_from_the_start_of_each_row():
    padded = np.maximum(np.arange(5) - np.array([[0], [2]]), 0)
    bias = falcon_alibi_bias(padded[:, None, None, :], 4)
    assert bias.shape == (2, 4, 1, 5)
    np.testing.assert_array_equal(bias[1, :, 0, 2:], bias[0, :, 0, :3])
