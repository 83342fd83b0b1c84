"""ALiBi: a query takes the less notice of a key the further back it stands, and no more is said.

Press et al. 2021, "Train short, test long: attention with linear biases" (arXiv:2108.12409).
"""

from typing import Any

import ml_dtypes
import numpy as np

from tinyllm.backend import Array, Backend


def alibi_slopes(n_heads: int) -> Any:
    """Return how fast each head forgets: mₕ = 2^(-8h/H) for h = 1 … H, per token.

    () -> slopes (H,), a float64 NumPy array

    Where H is no power of two: the slopes of the power P below it, then every second one of 2P, as
    in the authors' code and in BLOOM (arXiv:2211.05100).
    """
    below = 2 ** (n_heads.bit_length() - 1)
    slopes = 2.0 ** (-8.0 * np.arange(1, below + 1) / below)
    between = 2.0 ** (-8.0 * np.arange(1, 2 * below, 2) / (2 * below))
    return np.concatenate([slopes, between])[:n_heads]


def alibi_bias(xp: Backend, distances: Array, slopes: Array) -> Array:
    """Return what is added to the scores of attention: -mₕ (i - j) for query i and key j.

    distances (T, S), slopes (H,) -> bias (H, T, S)

    `distances` are i - j, in tokens; of later keys, which a causal mask hides, they are negative.
    """
    return -slopes[:, None, None] * xp.astype(distances, slopes.dtype)


def falcon_alibi_bias(positions: Any, n_heads: int) -> Any:
    """Return what Falcon adds to the scores before it divides by √d: mₕ j, in bfloat16.

    positions (S,) -> bias (H, 1, S), a float64 NumPy array

    Slope, position and product are each rounded to 8 bits, and models were trained with what came
    of it: far from the beginning, neighbours are equally far. Leading axes of `positions` broadcast
    against (H, 1).
    """
    slopes = alibi_slopes(n_heads).astype(ml_dtypes.bfloat16)[:, None, None]
    return (slopes * positions.astype(ml_dtypes.bfloat16)).astype(np.float64)
