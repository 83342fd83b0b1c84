"""tinyllm.ops.quantization: near what was rounded, and exactly what is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.ops.quantization import GROUP, LARGEST, Quantized, dequantize, quantize
from tinyllm_numpy.products import linear, pack


def widened(xp, q):
    on_device = Quantized(bits=q.bits, values=xp.asarray(q.values), scales=xp.asarray(q.scales))
    return xp.to_numpy(dequantize(xp, on_device))


@given(st.sampled_from([8, 4]), st.integers(1, 5), st.integers(1, 4), rngs)
def test_no_weight_is_off_by_more_than_half_a_scale(bits, D, groups, rng):
    import tinyllm_numpy as xp

    C = groups * GROUP if bits == 4 else groups * 7
    weight = rng.standard_normal((D, C)).astype(np.float32)
    q = quantize(weight, bits=bits)
    assert q.shape == (D, C)
    step = np.repeat(q.scales, C // q.scales.shape[1], axis=1)
    assert (np.abs(widened(xp, q) - weight) <= 0.5001 * step).all()
    again = quantize(widened(xp, q), bits=bits)
    np.testing.assert_array_equal(again.values, q.values)


@pytest.mark.parametrize("bits", [8, 4])
def test_numbers_are_kept_as_they_are(xp, bits):
    numbers = np.arange(-LARGEST[bits], LARGEST[bits] + 1)
    weight = np.resize(numbers, (3, 8 * GROUP)).astype(np.float32)
    np.testing.assert_array_equal(widened(xp, quantize(0.5 * weight, bits=bits)), 0.5 * weight)
    zeros = np.zeros((2, GROUP), np.float32)
    np.testing.assert_array_equal(widened(xp, quantize(zeros, bits=bits)), zeros)


@pytest.mark.parametrize(("bits", "error"), [(8, 0.008), (4, 0.1)])
def test_gaussian_weights_give_outputs_within_a_known_error(bits, error):
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((256, 512), dtype=np.float32), rng.standard_normal((4, 512))
    exact = x @ weight.T
    off = linear(x.astype(np.float32), quantize(weight, bits=bits)) - exact
    assert np.linalg.norm(off) / np.linalg.norm(exact) < error


@given(st.sampled_from([8, 4]), st.integers(1, 3), st.integers(1, 40), rngs)
def test_products_read_the_widened_matrix(bits, rows, D, rng):
    import tinyllm_numpy as xp

    q = quantize(rng.standard_normal((D, 2 * GROUP)), bits=bits)
    x = rng.standard_normal((rows, 2 * GROUP)).astype(np.float32)
    assert pack([q]) is q
    assert pack([q, q]) is None
    np.testing.assert_allclose(linear(x, q), x @ widened(xp, q).T, atol=1e-5)


def test_large_products_are_shared_among_workers():
    rng = np.random.default_rng(0)
    q = quantize(rng.standard_normal((2049, 512), dtype=np.float32), bits=8)
    import tinyllm_numpy as xp

    for rows in (1, 3):
        x = rng.standard_normal((rows, 512), dtype=np.float32)
        np.testing.assert_allclose(linear(x, q), x @ widened(xp, q).T, atol=1e-3)
