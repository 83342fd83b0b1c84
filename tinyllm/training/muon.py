"""Muon: let every direction of a matrix move equally far.

A matrix's momentum has a few large singular values and many small ones; its orthogonal factor has
only ones. Only matrices within the layers are orthogonalised: rows of an embedding table or of a
head belong to tokens, not to directions, and like vectors they are AdamW's.
"""

import math
from typing import Any

from tinyllm.backend import Array, Backend

_TABLES = (
    "embed",
    "lm_head",
    "position",
    "bias",
)  # parts of the names of matrices that are AdamW's
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that is steep at 0
_ITERATIONS = 5


def muon_step(
    xp: Backend,
    p: Array,
    g: Array,
    m: Array,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> Array:
    """Step along the orthogonal factor: m ← μ m + g,  p ← (1 - lr λ) p - lr 0.2 √n orth(g + μ m).

    p (R, C), g (R, C), m (R, C) -> p (R, C)

    Writes m in place. n is the larger of R and C: the root mean square of a step is then 0.2 lr,
    about what AdamW's is, and one rate and one decay λ serve both (Liu et al. 2025,
    arXiv:2502.16982, section 2.2). Jordan et al. 2024, "Muon: an optimizer for hidden layers in
    neural networks".
    """
    m *= momentum
    m += g
    size = 0.2 * math.sqrt(max(p.shape))
    return (1 - lr * weight_decay) * p - (lr * size) * orthogonalized(xp, g + momentum * m)


def orthogonalized(xp: Backend, x: Array) -> Array:
    """Bring all singular values near 1: X ← a X + (b A + c A²) X with A = X Xᵀ, five times.

    x (R, C) -> y (R, C)

    The Newton-Schulz iteration of Muon: after it they lie between 0.7 and 1.2, which is near enough
    and takes products only. A matrix of zeros stays one.
    """
    a, b, c = _COEFFICIENTS
    tall = x.shape[0] > x.shape[1]
    y = xp.permute_dims(x, (1, 0)) if tall else x
    y = y / (xp.sqrt(xp.sum(y * y)) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = y @ xp.permute_dims(y, (1, 0))
        y = a * y + (b * gram + c * (gram @ gram)) @ y
    return xp.permute_dims(y, (1, 0)) if tall else y


def is_hidden(name: str, p: Any) -> bool:
    """Whether a parameter is a matrix within the layers."""
    return p.ndim == 2 and not any(part in name for part in _TABLES)
