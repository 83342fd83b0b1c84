"""Self-attention with its projections, and a place for positions and for a cache."""

from typing import Any, Protocol

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.projection import (
    projection_backward,
    projection_forward,
    projections_backward,
    projections_forward,
)
from tinyllm.ops.activations import clip_backward, clip_forward
from tinyllm.ops.norms import rmsnorm_backward, rmsnorm_forward
from tinyllm.ops.rope import rope_half_backward, rope_half_forward

QKV = ("q_proj", "k_proj", "v_proj")
BIAS = "position_bias"  # among the gradients: that of a bias which all layers share


class LayerCache(Protocol):
    """What a layer needs of a KV cache: see `tinyllm.inference.kv_cache`."""

    def append(self, k: Array, v: Array, /) -> tuple[Array, Array]:
        """Keep the new keys and values; return all that the new queries may need."""
        ...


def self_attention_forward(
    xp: Backend,
    x: Array,
    p: dict[str, Any],
    *,
    n_heads: int,
    n_kv_heads: int,
    norm_eps: float,
    rotation: tuple[Array, Array] | None = None,
    mask: Array | None = None,
    bias: Array | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    clip: float | None = None,
    kv: LayerCache | None = None,
) -> tuple[Array, Saved]:
    """Let each token read from those it may see: y = concat(attention(q, k, v) of each head) W_oᵀ.

    x (B, T, D) -> y (B, T, D)

    `rotation` holds the cosines and sines of the tokens' positions, where these turn queries and
    keys (see `tinyllm.ops.rope`); `mask` (T, S) or (B, 1, T, S) what each may see, or (H, T, S) or
    (B, H, T, S) what is added to its scores; `bias`, of such a shape, is added too, and learned:
    its gradient is beside those of the parameters, by the name of BIAS. With `kv`, the keys and
    values of earlier calls come before those of this one. `scale` and `softcap` are those of
    `tinyllm.ops.attention`; `clip` holds what the three projections give between -clip and clip.
    Uses q_proj (H d, D), k_proj and v_proj (K d, D) and o_proj (D, H d); and where the checkpoint
    has them, q_norm and k_norm (d,), which give the features of each head a root mean square of 1
    before they are rotated (Qwen3, arXiv:2505.09388, section 2; Dehghani et al. 2023,
    arXiv:2302.05442, section 2).
    """
    s: dict[str, Saved] = {}
    qkv, s["qkv"] = projections_forward(xp, x, p, QKV)
    (q, k, v), s["clipped"] = clipped_forward(xp, qkv, clip)
    q, k = split_heads(xp, q, n_heads), split_heads(xp, k, n_kv_heads)
    q, s["q_norm"] = head_norm_forward(xp, q, p.get("q_norm"), eps=norm_eps)
    k, s["k_norm"] = head_norm_forward(xp, k, p.get("k_norm"), eps=norm_eps)
    q, s["rotated_q"] = rotated_forward(xp, q, rotation)
    k, s["rotated_k"] = rotated_forward(xp, k, rotation)
    v = split_heads(xp, v, n_kv_heads)
    if kv is not None:
        k, v = kv.append(k, v)
    options = {"mask": mask, "scale": scale, "softcap": softcap}
    s["attended"] = (q, k, v, bias), options
    o, s["attention"] = xp.attention_forward(q, k, v, bias, **options)
    y, s["o_proj"] = projection_forward(xp, merge_heads(xp, o), p["o_proj"])
    return y, s


def self_attention_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx is the sum over the three projections; made for a forward pass without a cache."""
    n_heads = saved["attended"][0][0].shape[1]
    grads: dict[str, Any] = {}
    do, grads["o_proj"] = projection_backward(xp, dy, saved["o_proj"])
    dq, dk, dv, dbias = xp.attention_backward(split_heads(xp, do, n_heads), saved["attention"])
    if dbias is not None:
        grads[BIAS] = dbias
    dk = rotated_backward(xp, dk, saved["rotated_k"])
    dq = rotated_backward(xp, dq, saved["rotated_q"])
    dk, grads["k_norm"] = head_norm_backward(xp, dk, saved["k_norm"])
    dq, grads["q_norm"] = head_norm_backward(xp, dq, saved["q_norm"])
    dqkv = [merge_heads(xp, d) for d in (dq, dk, dv)]
    dqkv = clipped_backward(xp, dqkv, saved["clipped"])
    dx, projections = projections_backward(xp, dqkv, saved["qkv"])
    return dx, grads | projections


def head_norm_forward(
    xp: Backend, x: Array, p: dict[str, Any] | None, *, eps: float
) -> tuple[Array, Saved]:
    """Normalise the features of each head by RMSNorm, if the checkpoint has a weight for that.

    x (B, H, T, d) -> y (B, H, T, d)

    Uses weight (d,), one for all heads. Without `p`, y is x.
    """
    return (x, None) if p is None else rmsnorm_forward(xp, x, **p, eps=eps)


def head_norm_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx and dweight are those of RMSNorm; without a weight, dx = dy."""
    if saved is None:
        return dy, {}
    dx, dweight = rmsnorm_backward(xp, dy, saved)
    return dx, {"weight": dweight}


def clipped_forward(xp: Backend, qkv: list[Array], clip: float | None) -> tuple[list[Array], Saved]:
    """Hold queries, keys and values between -clip and clip, if the model does that.

    It keeps large models from diverging (MosaicML 2023, MPT; Databricks 2024, DBRX).
    """
    if clip is None:
        return qkv, None
    pairs = [clip_forward(xp, x, limit=clip) for x in qkv]
    return [y for y, _ in pairs], [s for _, s in pairs]


def clipped_backward(xp: Backend, dqkv: list[Array], saved: Saved) -> list[Array]:
    """What was cut off has no gradient; without a limit, dx = dy."""
    if saved is None:
        return dqkv
    return [clip_backward(xp, dy, s) for dy, s in zip(dqkv, saved, strict=True)]


def rotated_forward(
    xp: Backend, x: Array, rotation: tuple[Array, Array] | None
) -> tuple[Array, Saved]:
    """Turn each head's features by its token's position, if the model has such positions.

    x (B, H, T, d) -> y (B, H, T, d)
    """
    return (x, None) if rotation is None else rope_half_forward(xp, x, *rotation)


def rotated_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """Turn dy back; without positions, dx = dy."""
    return dy if saved is None else rope_half_backward(xp, dy, saved)[0]


def split_heads(xp: Backend, x: Array, n_heads: int) -> Array:
    """Give each head its own axis: x (B, T, H d) -> y (B, H, T, d)."""
    B, T, features = x.shape
    return xp.permute_dims(xp.reshape(x, (B, T, n_heads, features // n_heads)), (0, 2, 1, 3))


def merge_heads(xp: Backend, x: Array) -> Array:
    """Undo `split_heads`: x (B, H, T, d) -> y (B, T, H d)."""
    B, H, T, d = x.shape
    return xp.reshape(xp.permute_dims(x, (0, 2, 1, 3)), (B, T, H * d))
