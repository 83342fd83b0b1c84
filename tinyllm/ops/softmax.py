"""From scores to probabilities along the last axis."""

from tinyllm.backend import Array, Backend, Saved


def softmax_forward(xp: Backend, x: Array) -> tuple[Array, Saved]:
    """Turn scores into probabilities: y = exp(x) / Σ exp(x).

    x (..., D) -> y (..., D)

    A row of nothing but -inf, where nothing may be chosen, gives zeros.
    """
    e, total = _shifted_exp(xp, x)[:2]
    y = e / total
    return y, (y,)


def softmax_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dx = y ⊙ (dy - Σ dy ⊙ y)."""
    (y,) = saved
    return y * (dy - xp.sum(dy * y, axis=-1, keepdims=True))


def log_softmax_forward(xp: Backend, x: Array) -> tuple[Array, Saved]:
    """Turn scores into log-probabilities: y = x - log Σ exp(x).

    x (..., D) -> y (..., D)

    A row of nothing but -inf stays so.
    """
    e, total, highest = _shifted_exp(xp, x)
    return (x - highest) - xp.log(total), (e / total,)


def log_softmax_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dx = dy - p Σ dy,  p = exp(y)."""
    (probs,) = saved
    return dy - probs * xp.sum(dy, axis=-1, keepdims=True)


def _shifted_exp(xp: Backend, x: Array) -> tuple[Array, Array, Array]:
    """Return exp(x - m), its sum and m = max x: the shift cancels but keeps exp from overflowing.

    In a row of nothing but -inf, m is taken as 0 and the sum as 1, so that no quotient is NaN.
    """
    highest = xp.max(x, axis=-1, keepdims=True)
    empty = highest == -xp.inf
    highest = xp.where(empty, xp.zeros_like(highest), highest)
    e = xp.exp(x - highest)
    total = xp.sum(e, axis=-1, keepdims=True)
    return e, xp.where(empty, xp.ones_like(total), total), highest
