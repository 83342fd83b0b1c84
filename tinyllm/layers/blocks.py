"""The residual block, what a transformer repeats, in its four layouts.

    pre        h = x + attention(norm(x)),           y = h + mlp(norm(h))
    post       h = norm(x + attention(x)),           y = norm(h + mlp(h))
    parallel   y = x + attention(norm(x)) + mlp(norm(x))
    sandwich   h = x + norm(attention(norm(x))),     y = h + norm(mlp(norm(h)))

A block is given its sublayers as `Layer`s. Dropout falls on what a sublayer adds, as in Vaswani et
al. 2017 (arXiv:1706.03762), section 5.4; of the probabilities of attention, which no fast attention
has in memory, none is dropped.
"""

from typing import Any, NamedTuple

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.layer import Layer
from tinyllm.ops.dropout import Dropout, dropout_backward, dropout_forward


class Sublayers(NamedTuple):
    """What a block is made of."""

    norm: Layer
    attention: Layer
    mlp: Layer
    cross: Layer | None = None  # of a decoder that reads a source: see `cross_blocks`


def pre_norm_block_forward(
    xp: Backend, x: Array, p: dict[str, Any], sub: Sublayers, dropout: Dropout | None = None
) -> tuple[Array, Saved]:
    """Add what attention reads, then what the feed-forward layer makes of it.

    x (B, T, D) -> y (B, T, D)

    h = x + attention(norm(x)),  y = h + mlp(norm(h)): the norms stand before the sublayers, so
    that the residual stream runs through untouched (Xiong et al. 2020, arXiv:2002.04745, figure 1b;
    GPT-2, Llama).
    """
    s: dict[str, Saved] = {"sublayers": sub, "input": x}
    normed, s["input_layernorm"] = sub.norm.forward(xp, x, p["input_layernorm"])
    read, s["self_attn"] = sub.attention.forward(xp, normed, p["self_attn"])
    read, s["dropout_read"] = dropout_forward(xp, read, dropout=dropout)
    s["middle"] = h = x + read
    normed, s["post_attention_layernorm"] = sub.norm.forward(xp, h, p["post_attention_layernorm"])
    made, s["mlp"] = sub.mlp.forward(xp, normed, p["mlp"])
    made, s["dropout_made"] = dropout_forward(xp, made, dropout=dropout)
    return h + made, s


def pre_norm_block_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dh = dy + d(norm)(d(mlp)(dy)),  dx = dh + d(norm)(d(attention)(dh))."""
    sub: Sublayers = saved["sublayers"]
    grads: dict[str, Any] = {}
    dmade = dropout_backward(xp, dy, saved["dropout_made"])
    dnormed, grads["mlp"] = sub.mlp.backward(xp, dmade, saved["mlp"])
    norm = "post_attention_layernorm"
    dx, grads[norm] = sub.norm.backward(xp, dnormed, saved[norm])
    dh = dy + dx
    dread = dropout_backward(xp, dh, saved["dropout_read"])
    dnormed, grads["self_attn"] = sub.attention.backward(xp, dread, saved["self_attn"])
    dx, grads["input_layernorm"] = sub.norm.backward(xp, dnormed, saved["input_layernorm"])
    return dh + dx, grads


def post_norm_block_forward(
    xp: Backend, x: Array, p: dict[str, Any], sub: Sublayers, dropout: Dropout | None = None
) -> tuple[Array, Saved]:
    """Normalise the sums: h = norm(x + attention(x)),  y = norm(h + mlp(h)).

    x (B, T, D) -> y (B, T, D)

    Vaswani et al. 2017 (arXiv:1706.03762), section 3.1; what comes out is normalised already, and
    the gradient passes through every norm on its way back (Xiong et al. 2020, arXiv:2002.04745).
    """
    s: dict[str, Saved] = {"sublayers": sub, "input": x}
    read, s["self_attn"] = sub.attention.forward(xp, x, p["self_attn"])
    read, s["dropout_read"] = dropout_forward(xp, read, dropout=dropout)
    norm = "post_attention_layernorm"
    h, s[norm] = sub.norm.forward(xp, x + read, p[norm])
    s["middle"] = h
    made, s["mlp"] = sub.mlp.forward(xp, h, p["mlp"])
    made, s["dropout_made"] = dropout_forward(xp, made, dropout=dropout)
    norm = "post_feedforward_layernorm"
    y, s[norm] = sub.norm.forward(xp, h + made, p[norm])
    return y, s


def post_norm_block_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """ds = d(norm)(dy),  dh = ds + d(mlp)(ds),  and the same through attention."""
    sub: Sublayers = saved["sublayers"]
    grads: dict[str, Any] = {}
    norm = "post_feedforward_layernorm"
    dsum, grads[norm] = sub.norm.backward(xp, dy, saved[norm])
    dmade = dropout_backward(xp, dsum, saved["dropout_made"])
    dx, grads["mlp"] = sub.mlp.backward(xp, dmade, saved["mlp"])
    norm = "post_attention_layernorm"
    dsum, grads[norm] = sub.norm.backward(xp, dsum + dx, saved[norm])
    dread = dropout_backward(xp, dsum, saved["dropout_read"])
    dx, grads["self_attn"] = sub.attention.backward(xp, dread, saved["self_attn"])
    return dsum + dx, grads


def parallel_block_forward(
    xp: Backend, x: Array, p: dict[str, Any], sub: Sublayers, dropout: Dropout | None = None
) -> tuple[Array, Saved]:
    """Let both sublayers read the same x: y = x + attention(norm(x)) + mlp(norm(x)).

    x (B, T, D) -> y (B, T, D)

    Wang & Komatsuzaki 2021, GPT-J; Black et al. 2022, "GPT-NeoX-20B" (arXiv:2204.06745), section
    2.1. The feed-forward layer has a norm of its own where the checkpoint has one, as in GPT-NeoX;
    otherwise the two share one, as in GPT-J and Falcon-7B.
    """
    s: dict[str, Saved] = {"sublayers": sub, "input": x}
    normed, s["input_layernorm"] = sub.norm.forward(xp, x, p["input_layernorm"])
    read, s["self_attn"] = sub.attention.forward(xp, normed, p["self_attn"])
    read, s["dropout_read"] = dropout_forward(xp, read, dropout=dropout)
    norm = "post_attention_layernorm"
    if norm in p:
        normed, s[norm] = sub.norm.forward(xp, x, p[norm])
    made, s["mlp"] = sub.mlp.forward(xp, normed, p["mlp"])
    made, s["dropout_made"] = dropout_forward(xp, made, dropout=dropout)
    return x + read + made, s


def parallel_block_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dy + d(norm)(d(attention)(dy)) + d(norm)(d(mlp)(dy)); a shared norm gets their sum."""
    sub: Sublayers = saved["sublayers"]
    grads: dict[str, Any] = {}
    dread = dropout_backward(xp, dy, saved["dropout_read"])
    dnormed, grads["self_attn"] = sub.attention.backward(xp, dread, saved["self_attn"])
    dmade = dropout_backward(xp, dy, saved["dropout_made"])
    dnormed_too, grads["mlp"] = sub.mlp.backward(xp, dmade, saved["mlp"])
    norm = "post_attention_layernorm"
    if norm in saved:
        dx_too, grads[norm] = sub.norm.backward(xp, dnormed_too, saved[norm])
        dy = dy + dx_too
    else:
        dnormed = dnormed + dnormed_too
    dx, grads["input_layernorm"] = sub.norm.backward(xp, dnormed, saved["input_layernorm"])
    return dy + dx, grads


def sandwich_block_forward(
    xp: Backend, x: Array, p: dict[str, Any], sub: Sublayers, dropout: Dropout | None = None
) -> tuple[Array, Saved]:
    """Put each sublayer between two norms: h = x + norm(attention(norm(x))), and so for the mlp.

    x (B, T, D) -> y (B, T, D)

    Ding et al. 2021, "CogView" (arXiv:2105.13290), section 2.4; Gemma Team 2024, "Gemma 2"
    (arXiv:2408.00118), section 2. The norms have the names of Gemma 2's files, in which
    post_attention_layernorm is what it is called.
    """
    s: dict[str, Saved] = {"sublayers": sub, "input": x}
    normed, s["input_layernorm"] = sub.norm.forward(xp, x, p["input_layernorm"])
    read, s["self_attn"] = sub.attention.forward(xp, normed, p["self_attn"])
    read, s["post_attention_layernorm"] = sub.norm.forward(xp, read, p["post_attention_layernorm"])
    read, s["dropout_read"] = dropout_forward(xp, read, dropout=dropout)
    s["middle"] = h = x + read
    norm = "pre_feedforward_layernorm"
    normed, s[norm] = sub.norm.forward(xp, h, p[norm])
    made, s["mlp"] = sub.mlp.forward(xp, normed, p["mlp"])
    norm = "post_feedforward_layernorm"
    made, s[norm] = sub.norm.forward(xp, made, p[norm])
    made, s["dropout_made"] = dropout_forward(xp, made, dropout=dropout)
    return h + made, s


def sandwich_block_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dh = dy + the gradient through norm, mlp and norm;  dx = dh + that through attention."""
    sub: Sublayers = saved["sublayers"]
    grads: dict[str, Any] = {}
    dmade = dropout_backward(xp, dy, saved["dropout_made"])
    norm = "post_feedforward_layernorm"
    dmade, grads[norm] = sub.norm.backward(xp, dmade, saved[norm])
    dnormed, grads["mlp"] = sub.mlp.backward(xp, dmade, saved["mlp"])
    norm = "pre_feedforward_layernorm"
    dx, grads[norm] = sub.norm.backward(xp, dnormed, saved[norm])
    dh = dy + dx
    dread = dropout_backward(xp, dh, saved["dropout_read"])
    norm = "post_attention_layernorm"
    dread, grads[norm] = sub.norm.backward(xp, dread, saved[norm])
    dnormed, grads["self_attn"] = sub.attention.backward(xp, dread, saved["self_attn"])
    dx, grads["input_layernorm"] = sub.norm.backward(xp, dnormed, saved["input_layernorm"])
    return dh + dx, grads
