"""tinyllm_numpy.attention: by tiles as by the formula, forward and backward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tinyllm.ops.attention import attention_backward, attention_forward, attention_mask
from tinyllm.ops.position_mask import PositionMask
from tinyllm_numpy import attention as by_tiles

SIZES = {"one tile": (2**16, 2**19), "one worker": (0, 2**19), "shared": (0, 0)}


@pytest.fixture(params=SIZES.values(), ids=SIZES.keys(), autouse=True)
def small_tiles(request, monkeypatch):
    """Few scores are one tile, or are cut up into tiles of a few rows and columns."""
    monkeypatch.setattr(by_tiles, "ROWS", 6)
    monkeypatch.setattr(by_tiles, "COLUMNS", 5)
    monkeypatch.setattr(by_tiles, "SMALL", request.param[0])
    monkeypatch.setattr(by_tiles, "SHARED", request.param[1])


def compare(q, k, v, bias=None, *, tolerance=1e-13, **options):
    xp = tinyllm_numpy
    o, saved = xp.attention_forward(q, k, v, bias, **options)
    expected, s_expected = attention_forward(xp, q, k, v, bias, **options)
    np.testing.assert_allclose(o, expected, atol=tolerance)
    dy = np.random.default_rng(3).standard_normal(o.shape)
    grads, wanted = xp.attention_backward(dy, saved), attention_backward(xp, dy, s_expected)
    for name, got, want in zip(("dq", "dk", "dv", "dbias"), grads, wanted, strict=True):
        if want is None:
            assert got is None
        else:
            np.testing.assert_allclose(got, want, atol=tolerance, err_msg=name)


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
    compare(q, k, v, mask=seen, scale=scale)


@given(st.integers(1, 20), st.integers(0, 9), st.sampled_from([None, 1, 3, 100]), rngs)
def test_causal_and_windowed_text_after_a_cache(T, earlier, window, rng):
    q, k, v = (rng.standard_normal((1, 2, n, 4)) for n in (T, T + earlier, T + earlier))
    positions = np.arange(T + earlier)
    mask = PositionMask(queries=positions[earlier:], keys=positions, window=window)
    compare(q, k, v, mask=mask)
    compare(
        q, k, v, mask=attention_mask(tinyllm_numpy, positions[earlier:], positions, window=window)
    )


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
    compare(q, k, v, mask=np.tril(np.ones((9, 9), bool)), tolerance=1e-6)
    o, saved = tinyllm_numpy.attention_forward(q, k, v)
    assert o.dtype == np.float32
    grads = tinyllm_numpy.attention_backward(o, saved)
    assert {g.dtype for g in grads[:3]} == {np.dtype(np.float32)}


@given(
    st.sampled_from([(1, 1, 9, 11), (1, 4, 9, 11), (2, 1, 9, 1), (2, 4, 1, 11), (9, 11), (1, 1)]),
    st.sampled_from([None, 2.0]),
    st.booleans(),
    rngs,
)
def test_a_bias_and_its_gradient_and_a_soft_cap(shape, softcap, causal, rng):
    q, k = rng.standard_normal((2, 4, 9, 4)), rng.standard_normal((2, 2, 11, 4))
    mask = PositionMask(queries=np.arange(2, 11), keys=np.arange(11), causal=causal)
    bias = rng.standard_normal(shape)
    compare(q, k, rng.standard_normal((2, 2, 11, 5)), bias, mask=mask, softcap=softcap)


@given(st.integers(0, 8), st.sampled_from([None, 3]), st.booleans(), rngs)
def test_left_padded_rows_and_slopes_by_rule(padding, window, sloping, rng):
    q, k, v = rng.standard_normal((3, 2, 2, 9, 4))
    positions = np.arange(9) - np.array([[0], [padding]])
    slopes = rng.random(2) if sloping else None
    rule = PositionMask(queries=positions, keys=positions, window=window, slopes=slopes)
    compare(q, k, v, mask=rule)


@pytest.mark.parametrize("size", [3.0, 30.0, 300.0])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_scores_of_any_size(size, softcap):
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 2, 17, 4))
    mask = PositionMask(queries=np.arange(17), keys=np.arange(17))
    compare(size * q, size * k, v, mask=mask, softcap=softcap, tolerance=1e-12 * size**3)


def test_float32_scores_beyond_what_their_exponentials_can_hold():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 2, 17, 4), dtype=np.float32)
    for offset in (-200.0, 200.0):
        bias = np.full((17, 17), offset, np.float32)
        o, _ = tinyllm_numpy.attention_forward(q, k, v, bias)
        np.testing.assert_allclose(o, attention_forward(tinyllm_numpy, q, k, v)[0], atol=3e-5)
