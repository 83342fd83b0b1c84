"""Multi-head latent attention: keys and values of all heads out of one short vector per token.

    c = norm(W_DKV x)        what a token leaves behind: d_c numbers, of which every head makes
    k = [W_UK c ; r]         its keys, and after them the rotated r = RoPE(W_KR x), of all heads one
    v = W_UV c               its values

Without a cache all keys and values are made. A cache keeps c and r, and no key is ever made of
them: ⟨q, W_UK c⟩ = ⟨W_UKᵀ q, c⟩, so each head's query is taken to where c lives, and
Σ p W_UV c = W_UV Σ p c. That is attention with one key/value head, whose values are the first
features of its keys. Rotated keys could not be absorbed so: the matrix between q and c would depend
on how far apart the two stand. That is why r goes beside.

DeepSeek-AI 2024, "DeepSeek-V2" (arXiv:2405.04434), section 2.1 and appendix C.
"""

from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.attention import LayerCache, merge_heads, split_heads
from tinyllm.layers.norms import rms_layer_backward, rms_layer_forward
from tinyllm.layers.projection import projection_backward, projection_forward
from tinyllm.ops.rope import rope_interleaved_backward, rope_interleaved_forward


def latent_attention_forward(
    xp: Backend,
    x: Array,
    p: dict[str, Any],
    *,
    n_heads: int,
    nope_dim: int,
    rotation: tuple[Array, Array],
    scale: float,
    norm_eps: float,
    mask: Array | None = None,
    kv: LayerCache | None = None,
) -> tuple[Array, Saved]:
    """Let each token read from those it may see: y = concat(attention([qₙ; qᵣ], k, v)) W_oᵀ.

    x (B, T, D) -> y (B, T, D)

    The first `nope_dim` features of each query have no position, the others are rotated, in pairs
    (2i, 2i + 1). With `kv`, [c ; r] of earlier calls comes before that of this one, and nothing is
    saved. Uses kv_a_proj_with_mqa (d_c + r, D), kv_a_layernorm (d_c,), kv_b_proj (H (nope + v),
    d_c), o_proj (D, H v); and q_proj (H (nope + r), D), or in its place q_a_proj, q_a_layernorm and
    q_b_proj, which make queries of a short vector too.
    """
    s: dict[str, Saved] = {"nope_dim": nope_dim}
    q, s["q"] = _queries_forward(xp, x, p, eps=norm_eps)
    q = split_heads(xp, q, n_heads)
    turned, s["rotated_q"] = rope_interleaved_forward(xp, q[..., nope_dim:], *rotation)
    c, r, s["latent"] = _latent_forward(xp, x, p, rotation, eps=norm_eps)
    if kv is not None:
        q = q[..., :nope_dim], turned
        o = _absorbed(xp, q, c, r, p["kv_b_proj"]["weight"], kv, mask=mask, scale=scale)
        return projection_forward(xp, merge_heads(xp, o), p["o_proj"])[0], None
    q = xp.concat([q[..., :nope_dim], turned], axis=-1)  # (B, H, T, nope + r)
    made, s["kv_b_proj"] = projection_forward(xp, c, p["kv_b_proj"])
    made = split_heads(xp, made, n_heads)  # (B, H, T, nope + v)
    k = xp.concat([made[..., :nope_dim], xp.broadcast_to(r, turned.shape)], axis=-1)
    v = made[..., nope_dim:]
    options = {"mask": mask, "scale": scale}
    s["attended"] = (q, k, v), options
    o, s["attention"] = xp.attention_forward(q, k, v, **options)
    y, s["o_proj"] = projection_forward(xp, merge_heads(xp, o), p["o_proj"])
    return y, s


def latent_attention_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dr is the sum over the heads, which share it; made for a forward pass without a cache."""
    nope_dim, n_heads = saved["nope_dim"], saved["attended"][0][0].shape[1]
    grads: dict[str, Any] = {}
    do, grads["o_proj"] = projection_backward(xp, dy, saved["o_proj"])
    dq, dk, dv, _ = xp.attention_backward(split_heads(xp, do, n_heads), saved["attention"])
    dmade = merge_heads(xp, xp.concat([dk[..., :nope_dim], dv], axis=-1))
    dc, grads["kv_b_proj"] = projection_backward(xp, dmade, saved["kv_b_proj"])
    dr = xp.sum(dk[..., nope_dim:], axis=1, keepdims=True)  # (B, 1, T, r)
    dx, latent = _latent_backward(xp, dc, dr, saved["latent"])
    dturned, _, _ = rope_interleaved_backward(xp, dq[..., nope_dim:], saved["rotated_q"])
    dq = merge_heads(xp, xp.concat([dq[..., :nope_dim], dturned], axis=-1))
    dx_too, queries = _queries_backward(xp, dq, saved["q"])
    return dx + dx_too, grads | latent | queries


def _absorbed(
    xp: Backend,
    q: tuple[Array, Array],
    c: Array,
    r: Array,
    weight: Array,
    kv: LayerCache,
    **options: Any,
) -> Array:
    """Attend to what is kept, [c ; r], as it is: returns the heads' outputs (B, H, T, v).

    q: (B, H, T, nope) and (B, H, T, r), c (B, T, d_c), r (B, 1, T, r)
    """
    without, turned = q
    H, nope_dim, d_c = without.shape[1], without.shape[-1], c.shape[-1]
    weight = weight if weight.dtype == c.dtype else xp.astype(weight, c.dtype)
    weight = xp.reshape(weight, (H, weight.shape[0] // H, d_c))
    up_k, up_v = weight[:, :nope_dim, :], weight[:, nope_dim:, :]
    kept = xp.concat([xp.expand_dims(c, axis=1), r], axis=-1)  # (B, 1, T, d_c + r)
    keys, _ = kv.append(kept, kept[..., :0])
    query = xp.concat([xp.matmul(without, up_k), turned], axis=-1)  # (B, H, T, d_c + r)
    o, _ = xp.attention_forward(query, keys, keys[..., :d_c], **options)  # (B, H, T, d_c)
    return xp.matmul(o, xp.permute_dims(up_v, (0, 2, 1)))


def _latent_forward(
    xp: Backend, x: Array, p: dict[str, Any], rotation: tuple[Array, Array], *, eps: float
) -> tuple[Array, Array, Saved]:
    """Return what a token leaves behind: c (B, T, d_c) and r (B, 1, T, r)."""
    d_c = p["kv_a_layernorm"]["weight"].shape[0]
    both, s_proj = projection_forward(xp, x, p["kv_a_proj_with_mqa"])
    c, s_norm = rms_layer_forward(xp, both[..., :d_c], p["kv_a_layernorm"], eps=eps)
    r, s_rope = rope_interleaved_forward(xp, split_heads(xp, both[..., d_c:], 1), *rotation)
    return c, r, (s_proj, s_norm, s_rope)


def _latent_backward(
    xp: Backend, dc: Array, dr: Array, saved: Saved
) -> tuple[Array, dict[str, Any]]:
    s_proj, s_norm, s_rope = saved
    grads: dict[str, Any] = {}
    dr, _, _ = rope_interleaved_backward(xp, dr, s_rope)
    dc, grads["kv_a_layernorm"] = rms_layer_backward(xp, dc, s_norm)
    dboth = xp.concat([dc, merge_heads(xp, dr)], axis=-1)
    dx, grads["kv_a_proj_with_mqa"] = projection_backward(xp, dboth, s_proj)
    return dx, grads


def _queries_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, eps: float
) -> tuple[Array, Saved]:
    """Return all heads' queries, at once or by way of a short vector: (B, T, H (nope + r))."""
    if "q_proj" in p:
        q, s = projection_forward(xp, x, p["q_proj"])
        return q, (s,)
    short, s_down = projection_forward(xp, x, p["q_a_proj"])
    short, s_norm = rms_layer_forward(xp, short, p["q_a_layernorm"], eps=eps)
    q, s_up = projection_forward(xp, short, p["q_b_proj"])
    return q, (s_down, s_norm, s_up)


def _queries_backward(xp: Backend, dq: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    grads: dict[str, Any] = {}
    if len(saved) == 1:
        dx, grads["q_proj"] = projection_backward(xp, dq, saved[0])
        return dx, grads
    s_down, s_norm, s_up = saved
    dshort, grads["q_b_proj"] = projection_backward(xp, dq, s_up)
    dshort, grads["q_a_layernorm"] = rms_layer_backward(xp, dshort, s_norm)
    dx, grads["q_a_proj"] = projection_backward(xp, dshort, s_down)
    return dx, grads
