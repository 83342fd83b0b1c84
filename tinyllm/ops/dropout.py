"""Dropout: numbers set to zero at random, so that a model learns to rely on none of them alone."""

from dataclasses import dataclass

import numpy as np

from tinyllm.backend import Array, Backend, Saved
from tinyllm.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropout:
    """How often a number is dropped, and the host generator that says which.

    A model takes its masks from `rng` in the order of its computation, so a generator in the same
    state gives the same masks on every backend and in every dtype. One that is made anew from
    (seed, step) makes a resumed run draw what the whole run would have drawn. Rate 0 draws nothing.
    Raises UsageError where the rate is not in [0, 1).
    """

    rate: float
    rng: np.random.Generator

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate < 1.0:
            raise UsageError(f"the dropout rate is {self.rate}, expected 0 ≤ rate < 1")


def dropout_forward(xp: Backend, x: Array, *, dropout: Dropout | None) -> tuple[Array, Saved]:
    """Set each number to 0 with probability p, and make up for it: y = x ⊙ m / (1 - p).

    x (...) -> y (...)

    m is 1 where a number is kept. The quotient keeps the mean, so that without dropout, or with
    p = 0, y is x, and nothing is to be scaled when the trained model is used. Srivastava et al.
    2014, "Dropout: a simple way to prevent neural networks from overfitting", section 10.
    """
    if dropout is None or dropout.rate == 0.0:
        return x, None
    drawn = dropout.rng.random(x.shape, np.float32)  # whatever x's dtype, so that masks agree
    saved = xp.asarray(drawn >= np.float32(dropout.rate)), 1.0 / (1.0 - dropout.rate)
    return dropout_backward(xp, x, saved), saved


def dropout_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dx = dy ⊙ m / (1 - p), with the mask of the forward pass: the map is linear in x."""
    if saved is None:
        return dy
    keep, scale = saved
    return xp.where(keep, dy * scale, xp.zeros_like(dy))
