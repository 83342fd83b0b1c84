"""Scaled dot-product attention: each query takes a weighted mean of the values it may see.

This is attention as the formula has it, with the whole (T, S) matrix of scores in memory.
"""

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.flash_tiles import Mask, as_mask
from tinyllm.ops.softmax import softmax_backward, softmax_forward


def attention_forward(
    xp: Backend,
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None = None,
    *,
    mask: Array | Mask | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[Array, Saved]:
    """Mix values by how well queries match keys: O = P V,  P = softmax(c tanh(S/c) + bias).

    q (B, H, T, d), k (B, K, S, d), v (B, K, S, e), bias (..., T, S) -> o (B, H, T, e)

    S = scale · Q Kᵀ with scale = 1/√d unless given; the soft cap c · tanh(S/c) only where `softcap`
    is given (Gemma Team 2024, arXiv:2408.00118, section 2). Query head h uses key head h // (H/K):
    H = K is multi-head, K = 1 multi-query, between is grouped-query attention (Ainslie et al. 2023,
    arXiv:2305.13245). `mask` is True where a query may attend, or is of floats that are added to
    the scores, -inf where it may not, or a rule that makes either (`tinyllm.ops.position_mask`); a
    query that may attend to nothing gets 0. Like `bias`, which unlike it has a gradient, it
    broadcasts against (B, H, T, S). Vaswani et al. 2017 (arXiv:1706.03762), eq. 1.
    """
    B, H, T, d = q.shape
    S = k.shape[2]
    scale = d**-0.5 if scale is None else scale
    scores = scale * xp.matmul(_by_key_head(xp, q, k), _transpose(xp, k))  # (B, K, G T, S)
    scores = xp.reshape(scores, (B, H, T, S))
    capped = None
    if softcap is not None:
        capped = xp.tanh(scores / softcap)
        scores = softcap * capped
    if bias is not None:
        scores = scores + bias
    rule = as_mask(mask)
    mask = None if rule is None else rule.tile(xp, slice(None), slice(None))
    if mask is not None:
        hidden = xp.asarray(-xp.inf, dtype=scores.dtype)
        scores = xp.where(mask, scores, hidden) if mask.dtype == xp.bool else scores + mask
    probs, _ = softmax_forward(xp, scores)  # (B, H, T, S)
    o = xp.reshape(xp.matmul(_by_key_head(xp, probs, k), v), (B, H, T, v.shape[-1]))
    return o, (q, k, v, bias, scale, softcap, capped, probs)


def attention_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, Array, Array, Array | None]:
    """dV = Pᵀ dO,  dS = P ⊙ (dP - Σ dP ⊙ P) with dP = dO Vᵀ,  dQ = scale dS K,  dK = scale dSᵀ Q.

    With a soft cap dS is further multiplied by 1 - tanh²; dbias is dS before that. Heads that share
    a key head lie side by side in one matrix, so that its products add up their gradients.
    """
    q, k, v, bias, scale, softcap, capped, probs = saved
    dy = _by_key_head(xp, dy, k)  # (B, K, G T, e)
    dv = xp.matmul(_transpose(xp, _by_key_head(xp, probs, k)), dy)
    dprobs = xp.reshape(xp.matmul(dy, _transpose(xp, v)), probs.shape)
    dscores = softmax_backward(xp, dprobs, (probs,))
    dbias = None if bias is None else _sum_to(xp, dscores, bias.shape)
    if softcap is not None:
        dscores = dscores * (1.0 - capped * capped)
    dscores = scale * _by_key_head(xp, dscores, k)  # (B, K, G T, S)
    dq = xp.reshape(xp.matmul(dscores, k), q.shape)
    dk = xp.matmul(_transpose(xp, dscores), _by_key_head(xp, q, k))
    return dq, dk, dv, dbias


def attention_mask(
    xp: Backend, queries: Array, keys: Array, *, causal: bool = True, window: int | None = None
) -> Array:
    """Say which positions see which: True where 0 ≤ key, key ≤ query and query < key + window.

    queries (..., T), keys (..., S) -> mask (..., T, S)

    Both are positions in the text, in tokens. A key at a negative position is padding. `window`
    counts the query itself (Mistral 7B, arXiv:2310.06825, section 2).
    """
    queries, keys = queries[..., :, None], keys[..., None, :]
    visible = xp.broadcast_to(keys >= 0, (queries + keys).shape)
    if causal:
        visible = visible & (keys <= queries)
    if window is not None:
        visible = visible & (queries < keys + window)
    return visible


def _by_key_head(xp: Backend, x: Array, k: Array) -> Array:
    """Put the G = H/K query heads of each key head under one another.

    (B, H, T, ·) becomes (B, K, G T, ·). That is one large product for each key head instead of G
    small ones, and no copy of the keys.
    """
    B, H, T, last = x.shape
    K = k.shape[1]
    return xp.reshape(x, (B, K, (H // K) * T, last))


def _transpose(xp: Backend, x: Array) -> Array:
    """Swap the last two axes of an array with four."""
    return xp.permute_dims(x, (0, 1, 3, 2))


def _sum_to(xp: Backend, x: Array, shape: tuple[int, ...]) -> Array:
    """Add up the axes of `x` along which an array of this shape was broadcast."""
    missing = x.ndim - len(shape)
    padded = (1,) * missing + tuple(shape)
    axes = tuple(i for i, size in enumerate(padded) if size == 1 and x.shape[i] != 1)
    return xp.reshape(xp.sum(x, axis=axes, keepdims=True) if axes else x, shape)
