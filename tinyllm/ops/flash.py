"""FlashAttention: attention to the last digit, in memory that grows with the text, not its square.

The (T, S) scores are made tile by tile and forgotten. What lets a row of softmax be had piece by
piece is the online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867): with the running maximum
m and the running sum ℓ of exp(S - m), a new tile that raises m to m' rescales all that was summed
before by exp(m - m'). Going back, the scores are made a second time, which costs less than reading
them; a row of them needs one number, L = log Σ exp(S), to become probabilities again. (Of large
scores L has the rounding, as they have: in float32 at 10⁴ probabilities are off by a thousandth.)

Dao 2023, "FlashAttention-2" (arXiv:2307.08691). This is the definition that kernels are held
against: the same tiles in the same order, in the paper's letters, i for rows and j for columns.
"""

from typing import NamedTuple

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.flash_tiles import Mask, Operands, finite, operands, part, tile_scores, transpose


class Flash(NamedTuple):
    """What the forward pass keeps: its operands, o (B, H, T, e), and L as lse (B, H, T)."""

    operands: Operands
    o: Array
    lse: Array


def flash_attention_forward(
    xp: Backend,
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None = None,
    *,
    mask: Array | Mask | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    tile: tuple[int, int] = (128, 128),
) -> tuple[Array, Saved]:
    """Mix values by how well queries match keys: O = softmax(c tanh(S/c) + bias) V, by tiles.

    q (B, H, T, d), k (B, K, S, d), v (B, K, S, e), bias (..., T, S) -> o (B, H, T, e)

    The arguments are those of `tinyllm.ops.attention`, and so is the result, to rounding. `mask`
    may also be a `PositionMask`, a rule from which each tile's part is made; a tile that it hides
    wholly costs nothing. `tile` is B_r queries by B_c keys. Algorithm 1 of arXiv:2307.08691, whose
    line 10 has an inverse too many: what was summed is multiplied by exp(m - m').
    """
    x = operands(xp, q, k, v, bias, mask=mask, scale=scale, softcap=softcap, tile=tile)
    lse = xp.zeros((*x.q.shape[:-1], 1), dtype=q.dtype)  # (B, K, G, T, 1)
    o = xp.zeros((*x.q.shape[:-1], v.shape[-1]), dtype=q.dtype)  # (B, K, G, T, e)
    for i in x.rows():
        o_i, l_i, m_i = o[..., i, :], lse[..., i, :], lse[..., i, :] - xp.inf
        for j in x.columns():
            if x.hidden(xp, i, j):
                continue
            s_ij, _ = tile_scores(xp, x, i, j)
            highest = xp.max(s_ij, axis=-1, keepdims=True)
            m_new = xp.where(m_i > highest, m_i, highest)
            p_ij = xp.exp(s_ij - finite(xp, m_new))
            rescale = xp.exp(m_i - finite(xp, m_new))
            l_i = rescale * l_i + xp.sum(p_ij, axis=-1, keepdims=True)
            o_i = rescale * o_i + xp.matmul(p_ij, x.v[..., j, :])
            m_i = m_new
        l_i = xp.where(m_i == -xp.inf, xp.ones_like(l_i), l_i)  # a query that sees nothing gives 0
        o[..., i, :] = o_i / l_i
        lse[..., i, :] = m_i + xp.log(l_i)
    o = xp.reshape(o, (*q.shape[:-1], v.shape[-1]))
    return o, Flash(x, o, xp.reshape(lse, q.shape[:-1]))


def flash_attention_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, Array, Array, Array | None]:
    """dV = Pᵀ dO,  dS = P ⊙ (dO Vᵀ - D),  dQ = scale dS K,  dK = scale dSᵀ Q,  tile by tile.

    P = exp(S - L). D = Σ dO ⊙ O, over the features, is the Σ dP ⊙ P over the keys that softmax
    takes off, so no row is needed whole. With a soft cap dS is further multiplied by 1 - tanh²;
    dbias is dS before that. Algorithm 2 of arXiv:2307.08691.
    """
    x, o, lse = saved
    heads = x.q.shape[:3]  # (B, K, G)
    lse = finite(xp, xp.reshape(lse, (*heads, o.shape[2], 1)))  # where -∞: P = exp(-∞ - 0) = 0
    delta = xp.reshape(xp.sum(dy * o, axis=-1), lse.shape)
    do = xp.reshape(dy, (*heads, *dy.shape[2:]))
    dq, dk, dv = xp.zeros_like(x.q), xp.zeros_like(x.k), xp.zeros_like(x.v)
    dbias = None if x.bias is None else xp.zeros_like(x.bias)
    for j in x.columns():
        k_j, v_j = x.k[..., j, :], x.v[..., j, :]
        dk_j, dv_j = (xp.zeros((*heads, *y.shape[3:]), dtype=y.dtype) for y in (k_j, v_j))
        for i in x.rows():
            if x.hidden(xp, i, j):
                continue
            q_i, do_i = x.q[..., i, :], do[..., i, :]
            s_ij, capped = tile_scores(xp, x, i, j)
            p_ij = xp.exp(s_ij - lse[..., i, :])
            dv_j = dv_j + xp.matmul(transpose(xp, p_ij), do_i)
            ds_ij = p_ij * (xp.matmul(do_i, transpose(xp, v_j)) - delta[..., i, :])
            if dbias is not None:
                shared = tuple(axis for axis in range(5) if dbias.shape[axis] == 1)
                dbias[part(dbias, i, j)] += xp.sum(ds_ij, axis=shared, keepdims=True)
            if capped is not None:
                ds_ij = ds_ij * (1.0 - capped * capped)
            ds_ij = x.scale * ds_ij
            dq[..., i, :] += xp.matmul(ds_ij, k_j)
            dk_j = dk_j + xp.matmul(transpose(xp, ds_ij), q_i)
        dk[..., j, :] = xp.sum(dk_j, axis=2, keepdims=True)  # over the heads that share a key head
        dv[..., j, :] = xp.sum(dv_j, axis=2, keepdims=True)
    dq = xp.reshape(dq, (*dy.shape[:3], dq.shape[-1]))
    dbias = None if dbias is None else xp.reshape(dbias, x.bias_shape)
    return dq, dk[:, :, 0, ...], dv[:, :, 0, ...], dbias
