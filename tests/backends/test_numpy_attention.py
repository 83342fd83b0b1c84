"""tinyllm_numpy.attention: by blocks as by the formula, forward and backward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tinyllm.ops.attention import attention_backward, attention_forward, attention_mask
from tinyllm_numpy import attention as blocks

SIZES = {"one block": (2**16, 2**19), "one worker": (0, 2**19), "shared": (0, 0)}


@pytest.fixture(params=SIZES.values(), ids=SIZES.keys(), autouse=True)
def small_blocks(request, monkeypatch):
    """Few scores are one block, or are cut up into blocks of a few rows."""
    monkeypatch.setattr(blocks, "ROWS", 6)
    monkeypatch.setattr(blocks, "SMALL", request.param[0])
    monkeypatch.setattr(blocks, "SHARED", request.param[1])


def compare(q, k, v, mask, scale=None, tolerance=1e-13):
    o, saved = tinyllm_numpy.attention_forward(q, k, v, mask=mask, scale=scale)
    assert isinstance(saved, blocks.Blocked)
    expected, s_expected = attention_forward(tinyllm_numpy, q, k, v, mask=mask, scale=scale)
    np.testing.assert_allclose(o, expected, atol=tolerance)
    dy = np.random.default_rng(3).standard_normal(o.shape)
    grads = tinyllm_numpy.attention_backward(dy, saved)
    for name, got, wanted in zip(
        ("dq", "dk", "dv"), grads, attention_backward(tinyllm_numpy, dy, s_expected)
    ):
        np.testing.assert_allclose(got, wanted, atol=tolerance, err_msg=name)
    assert grads[3] is None


@given(
    st.integers(1, 2),
    st.sampled_from([(1, 1), (4, 2), (3, 1)]),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([None, "text", "heads", "all"]),
    st.booleans(),
    st.sampled_from([None, 0.3]),
    rngs,
)
def test_any_mask(B, heads, T, S, mask, added, scale, rng):
    H, K = heads
    q, k = rng.standard_normal((B, H, T, 4)), rng.standard_normal((B, K, S, 4))
    v = rng.standard_normal((B, K, S, 5))
    shape = {"text": (B, 1, T, S), "heads": (H, T, S), "all": (T, S)}.get(mask)
    seen = None if shape is None else rng.random(shape) < 0.5
    if seen is not None and added:
        seen = np.where(seen, rng.standard_normal(shape), -np.inf)
    compare(q, k, v, seen, scale)


@given(st.integers(1, 20), st.integers(0, 9), st.sampled_from([None, 1, 3, 100]), rngs)
def test_causal_and_windowed_text_after_a_cache(T, earlier, window, rng):
    q, k, v = (rng.standard_normal((1, 2, n, 4)) for n in (T, T + earlier, T + earlier))
    positions = np.arange(T + earlier)
    compare(q, k, v, attention_mask(tinyllm_numpy, positions[earlier:], positions, window=window))


def test_a_query_that_sees_nothing_gives_zero_and_takes_no_gradient():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 2, 7, 4))
    mask = np.tril(np.ones((7, 7), bool))
    mask[3] = False
    o, saved = tinyllm_numpy.attention_forward(q, k, v, mask=mask)
    assert not o[0, :, 3].any()
    dq, dk, dv, _ = tinyllm_numpy.attention_backward(np.ones_like(o), saved)
    assert np.isfinite(dk).all()
    assert np.isfinite(dv).all()
    assert not dq[0, :, 3].any()


def test_heads_that_are_views_of_one_product_keep_their_dtype():
    qkv = np.random.default_rng(0).standard_normal((1, 9, 3 * 8), dtype=np.float32)
    q, k, v = (part.reshape(1, 9, 2, 4).transpose(0, 2, 1, 3) for part in np.split(qkv, 3, axis=-1))
    compare(q, k, v, np.tril(np.ones((9, 9), bool)), tolerance=1e-6)
    o, saved = tinyllm_numpy.attention_forward(q, k, v)
    assert o.dtype == np.float32
    grads = tinyllm_numpy.attention_backward(o, saved)
    assert {g.dtype for g in grads[:3]} == {np.dtype(np.float32)}


def test_a_bias_or_a_soft_cap_goes_by_the_formula():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 2, 7, 4))
    for options in ({"bias": np.ones((7, 7))}, {"softcap": 2.0}):
        bias = options.pop("bias", None)
        o, saved = tinyllm_numpy.attention_forward(q, k, v, bias, **options)
        expected, _ = attention_forward(tinyllm_numpy, q, k, v, bias, **options)
        assert np.array_equal(o, expected)
        assert not isinstance(saved, blocks.Blocked)
        assert len(tinyllm_numpy.attention_backward(np.ones_like(o), saved)) == 4
