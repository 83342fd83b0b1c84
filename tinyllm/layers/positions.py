"""Positions that are added to the embedded tokens.

`positions` are whole numbers on the host, (T,), or (B, T) where rows begin with padding, whose
positions are negative: what is added there is no matter, for nothing attends to it.
"""

from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Saved
from tinyllm.errors import UsageError
from tinyllm.ops.embedding import embedding_backward, embedding_forward
from tinyllm.ops.rope_scaling import default_frequencies
from tinyllm.ops.sinusoidal import sinusoidal_positions


def add_learned_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, positions: Any, offset: int = 0
) -> tuple[Array, Saved]:
    """Add a row of a learned table: y = x + W[position + offset].

    x (B, T, D) -> y (B, T, D)

    Radford et al. 2018, "Improving language understanding by generative pre-training", section 3.1.
    Uses weight (N, D). Raises UsageError for a position that it has no row for.
    """
    N, last = p["weight"].shape[0] - offset, int(positions.max(initial=-1))
    if last >= N:
        raise UsageError(f"this model has learned {N} positions, and the text has {last + 1}")
    ids = xp.asarray(np.maximum(np.atleast_2d(positions), 0) + offset)  # (1 or B, T)
    added, s = embedding_forward(xp, ids, p["weight"])
    return x + xp.astype(added, x.dtype), (s, ids.shape)


def add_learned_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dy, and dW[n] = Σ dy over what stands at position n, in all texts."""
    s, (rows, _) = saved
    _, dweight = embedding_backward(xp, dy if rows > 1 else xp.sum(dy, axis=0, keepdims=True), s)
    return dy, {"weight": dweight}


def add_sinusoidal_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, positions: Any
) -> tuple[Array, Saved]:
    """Add the vector of each position: y = x + PE[position], of the first D features.

    x (B, T, D) -> y (B, T, D)

    `p` has nothing for it: see `tinyllm.ops.sinusoidal`.
    """
    D = x.shape[-1]
    frequencies = xp.asarray(default_frequencies(10000.0, D))
    added = sinusoidal_positions(xp, xp.asarray(positions), frequencies, dtype=x.dtype)
    return x + added[..., :D], None


def add_sinusoidal_halves_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, positions: Any
) -> tuple[Array, Saved]:
    """Do the same with all sines before all cosines.

    x (B, T, D) -> y (B, T, D)
    """
    D = x.shape[-1]
    frequencies = xp.asarray(default_frequencies(10000.0, D))
    pairs = sinusoidal_positions(xp, xp.asarray(positions), frequencies, dtype=x.dtype)
    added = xp.concat([pairs[..., 0::2], pairs[..., 1::2]], axis=-1)
    return x + added[..., :D], None


def add_sinusoidal_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dy: what is added is a constant."""
    return dy, {}
