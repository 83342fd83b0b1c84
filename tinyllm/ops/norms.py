"""Normalisation of each vector by its own statistics."""

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.linear import rows


def rmsnorm_forward(xp: Backend, x: Array, weight: Array, *, eps: float) -> tuple[Array, Saved]:
    """Divide each vector by its root mean square: y = g ⊙ x̂,  x̂ = x / sqrt(mean(x²) + ε).

    x (..., D), weight (D,) -> y (..., D)

    Zhang & Sennrich 2019, "Root Mean Square Layer Normalization" (arXiv:1910.07467), eq. 4; the ε
    under the root is Llama's. `weight` is the gain g.
    """
    rstd = 1.0 / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + eps)  # (..., 1)
    return x * rstd * weight, (x, rstd, weight)


def rmsnorm_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, Array]:
    """dx = (dx̂ - x̂ mean(dx̂ ⊙ x̂)) / rms(x)  with dx̂ = g ⊙ dy,  and  dg = Σ dy ⊙ x̂.

    The subtracted term is the part of dx̂ along x̂: making x longer does not change y.
    """
    x, rstd, weight = saved
    xhat = x * rstd  # computed again, not saved: x is kept alive by the residual stream anyway
    dxhat = dy * weight
    dx = rstd * (dxhat - xhat * xp.mean(dxhat * xhat, axis=-1, keepdims=True))
    dweight = xp.sum(rows(xp, dy * xhat), axis=0)
    return dx, dweight


def layernorm_forward(
    xp: Backend, x: Array, weight: Array, bias: Array | None = None, *, eps: float
) -> tuple[Array, Saved]:
    """Give each vector mean 0 and variance 1: y = g ⊙ x̂ + b,  x̂ = (x - μ) / sqrt(σ² + ε).

    x (..., D), weight (D,), bias (D,) -> y (..., D)

    Ba et al. 2016, "Layer Normalization" (arXiv:1607.06450), eq. 4; σ² is the mean of (x - μ)², not
    the unbiased estimate, and is taken after μ, in a second pass: E[x²] - μ² cancels in float32.
    """
    mean = xp.mean(x, axis=-1, keepdims=True)  # (..., 1)
    centred = x - mean
    rstd = 1.0 / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + eps)  # (..., 1)
    y = centred * rstd * weight
    if bias is not None:
        y = y + bias
    return y, (x, mean, rstd, weight, bias)


def layernorm_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, Array, Array | None]:
    """dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ ⊙ x̂)) / σ  with dx̂ = g ⊙ dy,  dg = Σ dy ⊙ x̂,  db = Σ dy.

    The two means take out of dx̂ what y cannot see: a shift of x along 1, a stretch of it along x̂.
    """
    x, mean, rstd, weight, bias = saved
    xhat = (x - mean) * rstd  # computed again, as above
    dxhat = dy * weight
    along_one = xp.mean(dxhat, axis=-1, keepdims=True)
    along_xhat = xp.mean(dxhat * xhat, axis=-1, keepdims=True)
    dx = rstd * (dxhat - along_one - xhat * along_xhat)
    dweight = xp.sum(rows(xp, dy * xhat), axis=0)
    dbias = None if bias is None else xp.sum(rows(xp, dy), axis=0)
    return dx, dweight, dbias
