"""Linear maps: most of a language model's parameters and nearly all of its arithmetic."""

from tinyllm.backend import Array, Backend, Saved


def linear_forward(
    xp: Backend, x: Array, weight: Array, bias: Array | None = None
) -> tuple[Array, Saved]:
    """Map the last axis linearly: y = x Wᵀ + b.

    x (..., C), weight (D, C), bias (D,) -> y (..., D)

    Row d of the weight makes feature d of y, which is how checkpoints store it.
    """
    y = xp.linear(rows(xp, x), weight)
    if bias is not None:
        y = y + bias
    return xp.reshape(y, (*x.shape[:-1], y.shape[-1])), (x, weight, bias)


def linear_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, Array, Array | None]:
    """dx = dy W,  dW = Σ dyᵀ x,  db = Σ dy,  summed over all axes but the last."""
    x, weight, bias = saved
    dy = rows(xp, dy)  # (N, D)
    dx = xp.reshape(xp.matmul(dy, weight), x.shape)
    dweight = xp.matmul(dy.T, rows(xp, x))
    dbias = None if bias is None else xp.sum(dy, axis=0)
    return dx, dweight, dbias


def rows(xp: Backend, x: Array) -> Array:
    """Fold all axes but the last into one: x (..., D) -> y (N, D)."""
    n = 1
    for size in x.shape[:-1]:
        n *= size
    return xp.reshape(x, (n, x.shape[-1]))
