"""Cross-attention: a decoder's tokens read from the source text, as an encoder has understood it.

Keys and values come from the source alone, so they are a layer's step of its own: training takes it
once a batch, and decoding once a source, however many tokens follow. Both steps share one group of
parameters: q_proj (H d, D) and o_proj (D, H d) act on the decoder's tokens, k_proj (K d, C) and
v_proj (K d, C) on the source. Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.3.
"""

from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.attention import merge_heads, split_heads
from tinyllm.layers.projection import (
    projection_backward,
    projection_forward,
    projections_backward,
    projections_forward,
)

SOURCE = "source_keys"  # among the gradients of `read_source_backward`: those of k and v


def source_keys_forward(
    xp: Backend, source: Array, p: dict[str, Any], *, n_kv_heads: int
) -> tuple[tuple[Array, Array], Saved]:
    """Make what all later queries read: k = source W_kᵀ and v = source W_vᵀ, by heads.

    source (B, S, C) -> k (B, K, S, d), v (B, K, S, d)

    Uses k_proj and v_proj.
    """
    (k, v), saved = projections_forward(xp, source, p, ("k_proj", "v_proj"))
    return (split_heads(xp, k, n_kv_heads), split_heads(xp, v, n_kv_heads)), saved


def source_keys_backward(
    xp: Backend, dy: tuple[Array, Array], saved: Saved
) -> tuple[Array, dict[str, Any]]:
    """dsource = dk W_k + dv W_v; an encoder's is the sum over all layers that read from it."""
    return projections_backward(xp, [merge_heads(xp, d) for d in dy], saved)


def cross_attention_forward(
    xp: Backend,
    x: Array,
    k: Array,
    v: Array,
    bias: Array | None,
    p: dict[str, Any],
    *,
    n_heads: int,
    mask: Array | None = None,
    scale: float | None = None,
) -> tuple[Array, Saved]:
    """Let each token read from the source: y = concat(attention(x W_qᵀ, k, v) of each head) W_oᵀ.

    x (B, T, D), k (B, K, S, d), v (B, K, S, d), bias (..., T, S) -> y (B, T, D)

    `mask` (B, 1, 1, S) is False, or -inf, where the source is padding; `mask`, `bias` and `scale`
    are those of `tinyllm.ops.attention`. No token sees another one's query, so that one at a time
    gives the same as all at once. Uses q_proj and o_proj.
    """
    s: dict[str, Saved] = {}
    q, s["q_proj"] = projection_forward(xp, x, p["q_proj"])
    q = split_heads(xp, q, n_heads)
    o, s["attention"] = xp.attention_forward(q, k, v, bias, mask=mask, scale=scale)
    y, s["o_proj"] = projection_forward(xp, merge_heads(xp, o), p["o_proj"])
    s["n_heads"] = n_heads
    return y, s


def cross_attention_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[tuple[Array, Array, Array, Array | None], dict[str, Any]]:
    """dx = dq W_q; dk, dv and dbias are those of attention, of which dk and dv go to the source."""
    grads: dict[str, Any] = {}
    do, grads["o_proj"] = projection_backward(xp, dy, saved["o_proj"])
    do = split_heads(xp, do, saved["n_heads"])
    dq, dk, dv, dbias = xp.attention_backward(do, saved["attention"])
    dx, grads["q_proj"] = projection_backward(xp, merge_heads(xp, dq), saved["q_proj"])
    return (dx, dk, dv, dbias), grads


def read_source_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, keys: tuple[Array, Array], **options: Any
) -> tuple[Array, Saved]:
    """Do the same as a layer of a block, whose `keys` are k and v.

    x (B, T, D) -> y (B, T, D)
    """
    return cross_attention_forward(xp, x, *keys, None, p, **options)


def read_source_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dq W_q; beside the gradients of the parameters are (dk, dv), by the name of SOURCE."""
    (dx, dk, dv, _), grads = cross_attention_backward(xp, dy, saved)
    return dx, grads | {SOURCE: (dk, dv)}
