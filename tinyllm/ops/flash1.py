"""FlashAttention as first published: each tile of keys meets all queries before the next is read.

The same tiles as in `tinyllm.ops.flash`, in the other order: keys outside, queries inside. So a
tile of queries comes back once for every tile of keys, and what is known of its rows, O, ℓ and m,
is read, brought up to date and written each time. The second paper turned the loops round: rows
then stay where they are, need dividing by ℓ only once, and can be shared out among processors.
This is here to be read and compared; `flash` is the one to use.

Dao et al. 2022, "FlashAttention" (arXiv:2205.14135), in the paper's letters.
"""

from typing import NamedTuple

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.flash import Flash, flash_attention_backward
from tinyllm.ops.flash_tiles import Mask, Operands, finite, operands, tile_scores


class Flash1(NamedTuple):
    """What the forward pass keeps: its operands, o (B, H, T, e), l and m (B, H, T)."""

    operands: Operands
    o: Array
    l: Array
    m: Array


def flash_attention1_forward(
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

    The arguments are those of `flash_attention_forward`. O is at all times the attention to the
    keys that were read so far. Algorithm 1 of arXiv:2205.14135.
    """
    x = operands(xp, q, k, v, bias, mask=mask, scale=scale, softcap=softcap, tile=tile)
    l = xp.zeros((*x.q.shape[:-1], 1), dtype=q.dtype)  # (B, K, G, T, 1)
    m = l - xp.inf
    o = xp.zeros((*x.q.shape[:-1], v.shape[-1]), dtype=q.dtype)  # (B, K, G, T, e)
    for j in x.columns():
        for i in x.rows():
            if x.hidden(xp, i, j):
                continue
            s_ij, _ = tile_scores(xp, x, i, j)
            m_ij = xp.max(s_ij, axis=-1, keepdims=True)
            p_ij = xp.exp(s_ij - finite(xp, m_ij))
            l_ij = xp.sum(p_ij, axis=-1, keepdims=True)
            m_new = xp.where(m[..., i, :] > m_ij, m[..., i, :], m_ij)
            old = xp.exp(m[..., i, :] - finite(xp, m_new)) * l[..., i, :]
            fresh = xp.exp(m_ij - finite(xp, m_new))
            l_new = old + fresh * l_ij
            o_new = old * o[..., i, :] + fresh * xp.matmul(p_ij, x.v[..., j, :])
            o[..., i, :] = o_new / xp.where(l_new == 0.0, xp.ones_like(l_new), l_new)
            l[..., i, :], m[..., i, :] = l_new, m_new
    o = xp.reshape(o, (*q.shape[:-1], v.shape[-1]))
    return o, Flash1(x, o, xp.reshape(l, q.shape[:-1]), xp.reshape(m, q.shape[:-1]))


def flash_attention1_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, Array, Array, Array | None]:
    """The gradients are those of `flash_attention_backward`, with P = exp(S - m) / ℓ.

    Algorithm 4 of arXiv:2205.14135 has keys outside and queries inside, as the second paper's
    backward pass still has. That one keeps L = m + log ℓ alone, so that P = exp(S - L), and makes
    D once, not for every tile: nothing else is new there.
    """
    x, o, l, m = saved
    lse = m + xp.log(xp.where(l == 0.0, xp.ones_like(l), l))
    return flash_attention_backward(xp, dy, Flash(x, o, lse))
