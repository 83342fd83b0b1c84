"""A linear map of low rank: what is learnt beside a matrix that is not."""

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.linear import rows


def low_rank_forward(
    xp: Backend, x: Array, a: Array, b: Array, *, scale: float = 1.0
) -> tuple[Array, Saved]:
    """Map the last axis to few features and from there on: y = s (x Aᵀ) Bᵀ.

    x (..., C), a (r, C), b (D, r) -> y (..., D)

    Hu et al. 2021, "LoRA" (arXiv:2106.09685), eq. 3, with s = α / r.
    """
    short = xp.linear(rows(xp, x), a)  # (N, r)
    y = scale * xp.linear(short, b)
    return xp.reshape(y, (*x.shape[:-1], y.shape[-1])), (x, short, a, b, scale)


def low_rank_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """dx = s (dy B) A,  dA = s Σ (dy B)ᵀ x,  dB = s Σ dyᵀ (x Aᵀ)."""
    x, short, a, b, scale = saved
    dy = scale * rows(xp, dy)  # (N, D)
    dshort = xp.matmul(dy, b)  # (N, r)
    dx = xp.reshape(xp.matmul(dshort, a), x.shape)
    return dx, xp.matmul(dshort.T, rows(xp, x)), xp.matmul(dy.T, short)
