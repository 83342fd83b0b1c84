"""The nonlinearities of feed-forward layers, elementwise."""

import math

from tinyllm.backend import Array, Backend, Saved

_ROOT_2_OVER_PI = math.sqrt(2.0 / math.pi)
_CUBIC = 0.044715  # Hendrycks & Gimpel's fit of GELU by tanh


def relu_forward(xp: Backend, x: Array) -> tuple[Array, Saved]:
    """Cut off below zero: y = max(0, x).

    x (...) -> y (...)

    Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """
    return xp.where(x > 0, x, xp.zeros_like(x)), (x,)


def relu_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dx = dy where x > 0, else 0; at the kink, x = 0, the gradient is 0."""
    (x,) = saved
    return xp.where(x > 0, dy, xp.zeros_like(dy))


def gelu_forward(xp: Backend, x: Array) -> tuple[Array, Saved]:
    """Weigh x by the normal distribution: y = x Φ(x),  Φ(x) = (1 + erf(x/√2)) / 2.

    x (...) -> y (...)

    Hendrycks & Gimpel 2016, "Gaussian Error Linear Units" (arXiv:1606.08415), section 2.
    """
    cdf = 0.5 * (1.0 + xp.erf(x * math.sqrt(0.5)))
    return x * cdf, (x, cdf)


def gelu_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dx = dy ⊙ (Φ(x) + x φ(x)),  φ the normal density."""
    x, cdf = saved
    density = xp.exp(-0.5 * x * x) * math.sqrt(0.5 / math.pi)
    return dy * (cdf + x * density)


def gelu_tanh_forward(
    xp: Backend, x: Array, *, slope: float = _ROOT_2_OVER_PI
) -> tuple[Array, Saved]:
    """Approximate GELU without erf: y = x (1 + tanh u) / 2,  u = √(2/π) (x + 0.044715 x³).

    x (...) -> y (...)

    Hendrycks & Gimpel 2016 (arXiv:1606.08415), section 2; GPT-2 is trained with this form. `slope`
    is the root, of which BLOOM's code has eight digits.
    """
    t = xp.tanh(slope * x * (1.0 + _CUBIC * x * x))
    return 0.5 * x * (1.0 + t), (x, t, slope)


def gelu_tanh_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dx = dy ⊙ ((1 + t)/2 + x (1 - t²) u'/2),  t = tanh u,  u' = √(2/π) (1 + 3·0.044715 x²)."""
    x, t, slope = saved
    du = slope * (1.0 + 3.0 * _CUBIC * x * x)
    return dy * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * du)


def silu_forward(xp: Backend, x: Array) -> tuple[Array, Saved]:
    """Let x gate itself: y = x σ(x).

    x (...) -> y (...)

    Elfwing et al. 2017, "Sigmoid-weighted linear units" (arXiv:1702.03118), eq. 1.
    """
    gate = xp.sigmoid(x)
    return x * gate, (x, gate)


def silu_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dx = dy ⊙ σ(x) (1 + x (1 - σ(x)))."""
    x, gate = saved
    return dy * gate * (1.0 + x * (1.0 - gate))


def clip_forward(xp: Backend, x: Array, *, limit: float) -> tuple[Array, Saved]:
    """Hold x between two limits: y = min(max(x, -limit), limit).

    x (...) -> y (...)
    """
    bound = xp.asarray(limit, dtype=x.dtype)
    y = xp.where(x > bound, bound, xp.where(x < -bound, -bound, x))
    return y, (xp.abs(x) <= bound,)


def clip_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dx = dy where -limit ≤ x ≤ limit, else 0."""
    (within,) = saved
    return xp.where(within, dy, xp.zeros_like(dy))


def softcap_forward(xp: Backend, x: Array, *, cap: float) -> tuple[Array, Saved]:
    """Bend x so that it never reaches a limit: y = c tanh(x/c).

    x (...) -> y (...)

    Bello et al. 2016 (arXiv:1611.09940), appendix A; Gemma Team 2024 (arXiv:2408.00118), section 2.
    """
    t = xp.tanh(x / cap)
    return cap * t, (t,)


def softcap_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dx = dy ⊙ (1 - tanh²(x/c))."""
    (t,) = saved
    return dy * (1.0 - t * t)


def sigmoid(xp: Backend, x: Array) -> Array:
    """σ(x) = 1 / (1 + exp(-x)), written so that exp is only taken of negative numbers.

    x (...) -> y (...)
    """
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, xp.ones_like(e), e) / (1.0 + e)
