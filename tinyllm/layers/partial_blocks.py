"""What pruning leaves of a block that is not needed whole.

    attention alone    y = x + attention(norm(x))
    mlp alone          y = x + mlp(norm(x))
    linear             y = x Wᵀ + b

They are called as the whole blocks are: see `tinyllm.layers.blocks`.
"""

from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.blocks import Sublayers
from tinyllm.layers.layer import Layer
from tinyllm.layers.projection import projection_backward, projection_forward
from tinyllm.ops.dropout import Dropout, dropout_backward, dropout_forward

ATTENTION = "input_layernorm", "self_attn"  # the norm and the sublayer that are left
MLP = "post_attention_layernorm", "mlp"


def attention_block_forward(
    xp: Backend, x: Array, p: dict[str, Any], sub: Sublayers, dropout: Dropout | None = None
) -> tuple[Array, Saved]:
    """Add what attention reads: y = x + attention(norm(x)).

    x (B, T, D) -> y (B, T, D)
    """
    return _half_forward(xp, x, p, sub, sub.attention, ATTENTION, dropout)


def attention_block_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dy + d(norm)(d(attention)(dy))."""
    return _half_backward(xp, dy, saved, saved["sublayers"].attention, ATTENTION)


def mlp_block_forward(
    xp: Backend, x: Array, p: dict[str, Any], sub: Sublayers, dropout: Dropout | None = None
) -> tuple[Array, Saved]:
    """Add what the feed-forward layer makes: y = x + mlp(norm(x)).

    x (B, T, D) -> y (B, T, D)
    """
    return _half_forward(xp, x, p, sub, sub.mlp, MLP, dropout)


def mlp_block_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dy + d(norm)(d(mlp)(dy))."""
    return _half_backward(xp, dy, saved, saved["sublayers"].mlp, MLP)


def linear_block_forward(
    xp: Backend, x: Array, p: dict[str, Any], sub: Sublayers, dropout: Dropout | None = None
) -> tuple[Array, Saved]:
    """Map the residual stream: y = x Wᵀ + b.

    x (B, T, D) -> y (B, T, D)

    Razzhigaev et al. 2024 (arXiv:2405.12250), section 4.2. Nothing is added to x, so there is
    nothing that dropout could fall on.
    """
    y, saved = projection_forward(xp, x, p["linear"])
    return y, {"input": x, "linear": saved}


def linear_block_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dy W, and the gradients of a projection."""
    dx, grads = projection_backward(xp, dy, saved["linear"])
    return dx, {"linear": grads}


def _half_forward(
    xp: Backend,
    x: Array,
    p: dict[str, Any],
    sub: Sublayers,
    layer: Layer,
    names: tuple[str, str],
    dropout: Dropout | None,
) -> tuple[Array, Saved]:
    norm, sublayer = names
    s: dict[str, Saved] = {"sublayers": sub, "input": x}
    normed, s[norm] = sub.norm.forward(xp, x, p[norm])
    added, s[sublayer] = layer.forward(xp, normed, p[sublayer])
    added, s["dropout"] = dropout_forward(xp, added, dropout=dropout)
    return x + added, s


def _half_backward(
    xp: Backend, dy: Array, saved: Saved, layer: Layer, names: tuple[str, str]
) -> tuple[Array, dict[str, Any]]:
    norm, sublayer = names
    dadded = dropout_backward(xp, dy, saved["dropout"])
    dnormed, of_sublayer = layer.backward(xp, dadded, saved[sublayer])
    dx, of_norm = saved["sublayers"].norm.backward(xp, dnormed, saved[norm])
    return dy + dx, {norm: of_norm, sublayer: of_sublayer}
