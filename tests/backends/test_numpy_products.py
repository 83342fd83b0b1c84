"""tinyllm_numpy.products: every layout, number of rows and storage gives x Wᵀ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_dtypes import bfloat16

import tinyllm_numpy
from strategies import rngs
from tinyllm_numpy import products as tuned


@pytest.fixture(params=[2**22, 0], ids=["one worker", "shared"], autouse=True)
def small_blocks(request, monkeypatch):
    """Blocks of a few rows of W, so that there are several and a rest."""
    monkeypatch.setattr(tuned, "BLOCK_BYTES", 100)
    monkeypatch.setattr(tuned, "SHARED_BYTES", request.param)
    monkeypatch.setattr(tuned, "SHARED_PRODUCTS", request.param)


sizes = st.integers(1, 40)


@given(st.integers(1, 40), sizes, sizes, st.sampled_from(["float32", "float64"]), rngs)
def test_any_number_of_rows(N, D, C, dtype, rng):
    x, weight = rng.standard_normal((N, C)).astype(dtype), rng.standard_normal((D, C)).astype(dtype)
    y = tinyllm_numpy.linear(x, weight)
    assert y.dtype == dtype
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    np.testing.assert_allclose(y, exact, atol=1e-13 if dtype == "float64" else 1e-4)


@given(st.integers(1, 12), sizes, sizes, st.sampled_from([bfloat16, np.float16]), rngs)
def test_16_bits_are_widened_exactly(N, D, C, narrow, rng):
    x = rng.standard_normal((N, C), dtype=np.float32)
    weight = rng.standard_normal((D, C)).astype(narrow)
    weight.flags.writeable = False  # as a mapped file is
    y = tinyllm_numpy.linear(x, tinyllm_numpy.pack([weight]))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, x.astype(float) @ weight.T.astype(float), atol=1e-4)


def test_every_bit_pattern_of_bfloat16_keeps_its_value():
    patterns = np.arange(2**16, dtype=np.uint16).reshape(-1, 1).view(bfloat16)
    finite = patterns[np.isfinite(patterns.astype(np.float32))].reshape(-1, 1)
    y = tinyllm_numpy.linear(np.ones((1, 1), np.float32), finite)[0]
    assert np.array_equal(y, finite[:, 0].astype(np.float32))


@given(st.integers(1, 12), st.lists(sizes, min_size=1, max_size=3), sizes, rngs)
def test_a_pack_is_its_matrices_stacked(N, heights, C, rng):
    x, weights = rng.standard_normal((N, C)), [rng.standard_normal((D, C)) for D in heights]
    packed = tinyllm_numpy.pack(weights)
    if packed is None:
        assert len(weights) > 1
    else:
        expected = x @ np.concatenate(weights).T
        np.testing.assert_allclose(tinyllm_numpy.linear(x, packed), expected, atol=1e-12)


def test_which_matrices_are_copied():
    short, long = np.ones((8, 4), np.float32), np.ones((4, 1024), np.float32)
    packed = tinyllm_numpy.pack([short, short])
    assert isinstance(packed, tuned.Packed)
    assert packed.transpose.shape == (4, 16)
    assert packed.transpose.flags.c_contiguous  # a transpose that is only a view reads no faster
    assert tinyllm_numpy.pack([long]) is long
    assert tinyllm_numpy.pack([long, long]) is None
    narrow = short.astype(bfloat16)
    assert tinyllm_numpy.pack([narrow]) is narrow


def test_a_large_matrix_is_never_copied(monkeypatch):
    monkeypatch.setattr(tuned, "COPY_BYTES", 100)
    matrix = np.ones((8, 4), np.float32)
    assert tinyllm_numpy.pack([matrix]) is matrix
    assert tinyllm_numpy.pack([matrix, matrix]) is None
