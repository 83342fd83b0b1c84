"""tinyllm.ops.attention"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, scales, sizes
from tinyllm.ops.attention import attention_backward, attention_forward, attention_mask


def attend(xp, q, k, v, bias=None, mask=None, **options):
    arrays = [None if a is None else xp.asarray(a) for a in (q, k, v, bias)]
    mask = None if mask is None else xp.asarray(mask)
    return xp.to_numpy(attention_forward(xp, *arrays, mask=mask, **options)[0])


def one_query_at_a_time(q, k, v, bias, mask, scale, softcap):
    """The definition, with loops: an oracle that shares no line with the implementation."""
    B, H, T, _ = q.shape
    K, S = k.shape[1:3]
    o = np.zeros((B, H, T, v.shape[-1]))
    for b, h, t in np.ndindex(B, H, T):
        head = h // (H // K)
        scores = np.array([scale * q[b, h, t] @ k[b, head, s] for s in range(S)])
        if softcap is not None:
            scores = softcap * np.tanh(scores / softcap)
        scores = scores + np.broadcast_to(bias, (B, H, T, S))[b, h, t]
        seen = np.broadcast_to(mask, (B, H, T, S))[b, h, t]
        if seen.any():
            weights = np.exp(scores[seen] - scores[seen].max())
            o[b, h, t] = weights / weights.sum() @ v[b, head, seen]
    return o


@given(
    sizes, st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3), (6, 2)]), sizes, sizes, sizes, st.data()
)
def test_attention(xp, B, heads, T, S, d, draw):
    """The gradient and the definition, for every combination of the options."""
    (H, K), rng = heads, draw.draw(rngs)
    q, k = rng.standard_normal((B, H, T, d)), rng.standard_normal((B, K, S, d))
    v = rng.standard_normal((B, K, S, d + 1))
    bias_shape = draw.draw(st.sampled_from([None, (T, S), (H, T, S), (1, H, T, S), (B, 1, T, S)]))
    bias = None if bias_shape is None else rng.standard_normal(bias_shape)
    mask_shape = draw.draw(st.sampled_from([None, (T, S), (B, 1, T, S), (B, H, T, S)]))
    mask = None if mask_shape is None else rng.random(mask_shape) < 0.6
    options = {
        "scale": draw.draw(st.sampled_from([None, 0.3])),
        "softcap": draw.draw(st.sampled_from([None, 1.5])),
    }

    def forward(xp, q, k, v, bias=None):
        seen = None if mask is None else xp.asarray(mask)
        return attention_forward(xp, q, k, v, bias, mask=seen, **options)

    forward.__doc__ = attention_forward.__doc__
    check_pair(xp, forward, attention_backward, q, k, v, bias, rng=rng)
    expected = one_query_at_a_time(
        q, k, v, 0.0 if bias is None else bias, True if mask is None else mask,
        options["scale"] or d**-0.5, options["softcap"],
    )  # fmt: skip
    np.testing.assert_allclose(attend(xp, q, k, v, bias, mask, **options), expected, atol=1e-13)


@given(sizes, sizes, scales, rngs)
def test_the_output_lies_within_the_values_and_ignores_the_order_of_keys(xp, T, S, scale, rng):
    q, k, v = (scale * rng.standard_normal((1, 2, n, 4)) for n in (T, S, S))
    o = attend(xp, q, k, v)
    margin = 1e-12 * scale
    assert (o <= v.max(axis=2, keepdims=True) + margin).all()
    assert (o >= v.min(axis=2, keepdims=True) - margin).all()
    order = rng.permutation(S)
    np.testing.assert_allclose(attend(xp, q, k[:, :, order], v[:, :, order]), o, atol=1e-11 * scale)


@given(sizes, rngs)
def test_a_constant_added_to_a_row_of_scores_changes_nothing(xp, T, rng):
    q, k, v = rng.standard_normal((3, 1, 2, T, 4))
    constant = rng.standard_normal((1, 2, T, 1)) * np.ones((1, 2, T, T))
    np.testing.assert_allclose(attend(xp, q, k, v, constant), attend(xp, q, k, v), atol=1e-13)


def test_a_single_key_gives_its_value(xp):
    rng = np.random.default_rng(0)
    q, k, v = (
        rng.standard_normal((1, 3, 2, 4)),
        rng.standard_normal((1, 3, 1, 4)),
        rng.standard_normal((1, 3, 1, 4)),
    )
    np.testing.assert_allclose(attend(xp, q, k, v), np.broadcast_to(v, q.shape), rtol=1e-15)


@given(sizes, sizes, rngs)
def test_grouped_queries_are_heads_with_tied_keys(xp, K, T, rng):
    G = 3
    q, k, v = rng.standard_normal((1, K * G, T, 4)), *rng.standard_normal((2, 1, K, T, 4))
    tied = attend(xp, q, np.repeat(k, G, axis=1), np.repeat(v, G, axis=1))
    np.testing.assert_allclose(attend(xp, q, k, v), tied, atol=1e-14)


@given(st.integers(2, 8), rngs)
def test_a_later_token_changes_no_earlier_output_by_a_single_bit(xp, T, rng):
    q, k, v = rng.standard_normal((3, 1, 2, T, 4))
    positions = xp.asarray(np.arange(T))
    mask = xp.to_numpy(attention_mask(xp, positions, positions))
    before = attend(xp, q, k, v, mask=mask)
    t = int(rng.integers(1, T))
    k[:, :, t:], v[:, :, t:] = rng.standard_normal((2, 1, 2, T - t, 4))
    assert np.array_equal(attend(xp, q, k, v, mask=mask)[:, :, :t], before[:, :, :t])


def test_a_query_that_sees_nothing_gives_zero_and_takes_no_gradient(xp):
    rng = np.random.default_rng(0)
    q, k, v = (xp.asarray(rng.standard_normal((1, 1, 2, 4))) for _ in range(3))
    mask = xp.asarray(np.array([[True, False], [False, False]]))
    o, saved = attention_forward(xp, q, k, v, mask=mask)
    assert not xp.to_numpy(o)[0, 0, 1].any()
    dq, dk, dv, _ = (
        g if g is None else xp.to_numpy(g) for g in attention_backward(xp, xp.ones_like(o), saved)
    )
    assert np.isfinite([dq, dk, dv]).all()
    assert not dq[0, 0, 1].any()
    assert not dk[0, 0, 1].any()
    assert not dv[0, 0, 1].any()


def test_scores_of_ten_thousand_do_not_overflow(xp):
    q = np.float32([[[[1e4]]]])
    k, v = np.float32([[[[1.0], [-1.0]]]]), np.float32([[[[2.0], [3.0]]]])
    assert attend(xp, q, k, v).item() == 2.0


class TestMask:
    def mask(self, xp, queries, keys, **options):
        arrays = (xp.asarray(np.asarray(p)) for p in (queries, keys))
        return xp.to_numpy(attention_mask(xp, *arrays, **options)).astype(int).tolist()

    def test_causal(self, xp):
        assert self.mask(xp, [0, 1, 2], [0, 1, 2]) == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]

    def test_later_queries_are_aligned_to_the_end(self, xp):
        assert self.mask(xp, [2, 3], [0, 1, 2, 3]) == [[1, 1, 1, 0], [1, 1, 1, 1]]

    def test_a_window_counts_the_query_itself(self, xp):
        expected = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
        assert self.mask(xp, range(4), range(4), window=2) == expected

    def test_padding_is_at_negative_positions(self, xp):
        expected = [[[0, 0, 0], [0, 1, 0], [0, 1, 1]], [[1, 0, 0], [1, 1, 0], [1, 1, 1]]]
        assert self.mask(xp, [[-1, 0, 1], [0, 1, 2]], [[-1, 0, 1], [0, 1, 2]]) == expected

    def test_without_causality_only_padding_is_hidden(self, xp):
        assert self.mask(xp, [0, 1], [-1, 0, 1], causal=False) == [[0, 1, 1], [0, 1, 1]]

    @pytest.mark.parametrize("window", [5, 6, 100])
    def test_a_window_as_long_as_the_text_is_causal(self, xp, window):
        assert self.mask(xp, range(5), range(5), window=window) == self.mask(xp, range(5), range(5))
