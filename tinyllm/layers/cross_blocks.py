"""The block of a decoder that reads a source: a third sublayer between the two of `blocks`.

    pre     x ← x + f(norm(x))      post    x ← norm(x + f(x))

for f = attention, cross-attention, feed-forward in turn, each with a norm of its own. Vaswani et
al. 2017 (arXiv:1706.03762), section 3.1; Raffel et al. 2019 (arXiv:1910.10683), section 2.1.
"""

from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.blocks import Sublayers
from tinyllm.layers.layer import Layer
from tinyllm.ops.dropout import Dropout, dropout_backward, dropout_forward

# The sublayers in their order, each with its norm.
PRE = {
    "self_attn": "input_layernorm",
    "cross_attn": "pre_cross_layernorm",
    "mlp": "post_attention_layernorm",
}
POST = {
    "self_attn": "post_attention_layernorm",
    "cross_attn": "post_cross_layernorm",
    "mlp": "post_feedforward_layernorm",
}


def pre_norm_cross_block_forward(
    xp: Backend, x: Array, p: dict[str, Any], sub: Sublayers, dropout: Dropout | None = None
) -> tuple[Array, Saved]:
    """Add what each sublayer makes of the norm of x: x ← x + f(norm(x)), three times.

    x (B, T, D) -> y (B, T, D)
    """
    s: dict[str, Saved] = {"sublayers": sub, "input": x}
    for (name, norm), layer in zip(PRE.items(), _three(sub), strict=True):
        normed, s[norm] = sub.norm.forward(xp, x, p[norm])
        made, s[name] = layer.forward(xp, normed, p[name])
        made, s[f"dropout_{name}"] = dropout_forward(xp, made, dropout=dropout)
        x = x + made
    return x, s


def pre_norm_cross_block_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, dict[str, Any]]:
    """dx ← dx + d(norm)(d(f)(dx)), the last sublayer first."""
    sub: Sublayers = saved["sublayers"]
    grads: dict[str, Any] = {}
    for (name, norm), layer in reversed([*zip(PRE.items(), _three(sub), strict=True)]):
        dmade = dropout_backward(xp, dy, saved[f"dropout_{name}"])
        dnormed, grads[name] = layer.backward(xp, dmade, saved[name])
        dx, grads[norm] = sub.norm.backward(xp, dnormed, saved[norm])
        dy = dy + dx
    return dy, grads


def post_norm_cross_block_forward(
    xp: Backend, x: Array, p: dict[str, Any], sub: Sublayers, dropout: Dropout | None = None
) -> tuple[Array, Saved]:
    """Normalise the sum of x and what each sublayer makes of it: x ← norm(x + f(x)), three times.

    x (B, T, D) -> y (B, T, D)
    """
    s: dict[str, Saved] = {"sublayers": sub, "input": x}
    for (name, norm), layer in zip(POST.items(), _three(sub), strict=True):
        made, s[name] = layer.forward(xp, x, p[name])
        made, s[f"dropout_{name}"] = dropout_forward(xp, made, dropout=dropout)
        x, s[norm] = sub.norm.forward(xp, x + made, p[norm])
    return x, s


def post_norm_cross_block_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, dict[str, Any]]:
    """ds = d(norm)(dx),  dx ← ds + d(f)(ds), the last sublayer first."""
    sub: Sublayers = saved["sublayers"]
    grads: dict[str, Any] = {}
    for (name, norm), layer in reversed([*zip(POST.items(), _three(sub), strict=True)]):
        dsum, grads[norm] = sub.norm.backward(xp, dy, saved[norm])
        dmade = dropout_backward(xp, dsum, saved[f"dropout_{name}"])
        dx, grads[name] = layer.backward(xp, dmade, saved[name])
        dy = dsum + dx
    return dy, grads


def _three(sub: Sublayers) -> tuple[Layer, Layer, Layer]:
    assert sub.cross is not None
    return sub.attention, sub.cross, sub.mlp
