"""Keep one bad batch from throwing the parameters far away: clip the gradient's length."""

import math

from tinyllm.backend import Array, Backend, Params
from tinyllm.training.blocks import by_blocks, rows_of


def global_norm(xp: Backend, grads: Params) -> float:
    """Return the length of all gradients as one vector: √ Σ g², summed in float64.

    In float32 the squares of numbers above 1.8e19 are infinite, and a sum of millions is rounded.
    """

    def squares(block: Array) -> Array:
        wide = xp.astype(block, xp.float64)
        return xp.sum(wide * wide)

    blocks = [g[rows] for g in grads.values() for rows in rows_of(xp, g)]
    if not blocks:
        return 0.0
    sums = xp.stack(xp.parallel_map(squares, blocks))  # read at once: a GPU is waited for
    return math.sqrt(math.fsum(xp.to_numpy(sums).tolist()))


def clip_factor(norm: float, max_norm: float) -> float:
    """Return what brings a length of `norm` to at most `max_norm`: min(1, max / (norm + 1e-6)).

    Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks"
    (arXiv:1211.5063), algorithm 1; the 1e-6 is PyTorch's.
    """
    return min(1.0, max_norm / (norm + 1e-6))


def scaled(xp: Backend, grads: Params, factor: float) -> Params:
    """Multiply all gradients by a number."""
    return by_blocks(xp, lambda g: factor * g, grads) if factor != 1.0 else grads


def clip_by_global_norm(xp: Backend, grads: Params, max_norm: float) -> tuple[Params, float]:
    """Scale gradients down to a global norm of `max_norm` if theirs is larger; return it too."""
    norm = global_norm(xp, grads)
    return scaled(xp, grads, clip_factor(norm, max_norm)), norm
