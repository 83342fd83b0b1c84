"""The residual block: what a transformer repeats."""

from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.attention import LayerCache, self_attention_backward, self_attention_forward
from tinyllm.layers.mlp import swiglu_backward, swiglu_forward
from tinyllm.ops.dropout import Dropout, dropout_backward, dropout_forward
from tinyllm.ops.norms import rmsnorm_backward, rmsnorm_forward


def pre_norm_block_forward(
    xp: Backend,
    x: Array,
    p: dict[str, Any],
    *,
    n_heads: int,
    n_kv_heads: int,
    norm_eps: float,
    rotation: tuple[Array, Array] | None = None,
    mask: Array | None = None,
    kv: LayerCache | None = None,
    dropout: Dropout | None = None,
) -> tuple[Array, Saved]:
    """Add what attention reads, then what the feed-forward layer makes of it.

    x (B, T, D) -> y (B, T, D)

    h = x + attention(norm(x)),  y = h + swiglu(norm(h)): the norms stand before the sublayers, so
    that the residual stream runs through untouched (Xiong et al. 2020, arXiv:2002.04745, figure 1b;
    with RMSNorm and SwiGLU, Touvron et al. 2023, arXiv:2302.13971, section 2.2). `dropout` falls on
    what is added, as in Vaswani et al. 2017 (arXiv:1706.03762), section 5.4; of the probabilities
    of attention, which no fast attention has in memory, none is dropped.
    """
    s: dict[str, Saved] = {}
    normed, s["input_layernorm"] = rmsnorm_forward(xp, x, **p["input_layernorm"], eps=norm_eps)
    read, s["self_attn"] = self_attention_forward(
        xp, normed, p["self_attn"],
        n_heads=n_heads, n_kv_heads=n_kv_heads, norm_eps=norm_eps, rotation=rotation, mask=mask,
        kv=kv,
    )  # fmt: skip
    read, s["dropout_read"] = dropout_forward(xp, read, dropout=dropout)
    h = x + read
    normed, s["post_attention_layernorm"] = rmsnorm_forward(
        xp, h, **p["post_attention_layernorm"], eps=norm_eps
    )
    made, s["mlp"] = swiglu_forward(xp, normed, p["mlp"])
    made, s["dropout_made"] = dropout_forward(xp, made, dropout=dropout)
    return h + made, s


def pre_norm_block_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dh = dy + d(norm)(d(swiglu)(dy)),  dx = dh + d(norm)(d(attention)(dh))."""
    grads: dict[str, Any] = {}
    dmade = dropout_backward(xp, dy, saved["dropout_made"])
    dnormed, grads["mlp"] = swiglu_backward(xp, dmade, saved["mlp"])
    dx, dweight = rmsnorm_backward(xp, dnormed, saved["post_attention_layernorm"])
    grads["post_attention_layernorm"] = {"weight": dweight}
    dh = dy + dx
    dread = dropout_backward(xp, dh, saved["dropout_read"])
    dnormed, grads["self_attn"] = self_attention_backward(xp, dread, saved["self_attn"])
    dx, dweight = rmsnorm_backward(xp, dnormed, saved["input_layernorm"])
    grads["input_layernorm"] = {"weight": dweight}
    return dh + dx, grads
