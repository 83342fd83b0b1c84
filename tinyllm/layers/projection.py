"""A linear map with its own weight and, where the checkpoint has one, its own bias."""

from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.linear import linear_backward, linear_forward


def projection_forward(xp: Backend, x: Array, p: dict[str, Any]) -> tuple[Array, Saved]:
    """Map the last axis linearly: y = x Wᵀ + b.

    x (..., C) -> y (..., D)

    Uses weight (D, C), and bias (D,) if there is one.
    """
    return linear_forward(xp, x, **p)


def projection_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dy W,  dW = Σ dyᵀ x,  db = Σ dy."""
    dx, dweight, dbias = linear_backward(xp, dy, saved)
    return dx, {"weight": dweight} if dbias is None else {"weight": dweight, "bias": dbias}
