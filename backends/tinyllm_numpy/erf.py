"""The error function, which NumPy lacks.

W. J. Cody 1969, "Rational Chebyshev approximations for the error function", Math. Comp. 23: three
intervals, each a quotient of polynomials whose error is below the rounding of float64.
"""

from typing import Any

import numpy as np

# Numerator and denominator, highest power first; a denominator's leading coefficient is 1.
_SMALL = (
    (0.185777706184603153, 3.16112374387056560, 113.864154151050156, 377.485237685302021,
     3209.37758913846947),
    (1.0, 23.6012909523441209, 244.024637934444173, 1282.61652607737228, 2844.23683343917062),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 0.564188496988670089, 8.88314979438837594, 66.1191906371416295,
     298.635138197400131, 881.952221241769090, 1712.04761263407058, 2051.07837782607147,
     1230.33935479799725),
    (1.0, 15.7449261107098347, 117.693950891312499, 537.181101862009858, 1621.38957456669019,
     3290.79923573345963, 4362.61909014324716, 3439.36767414372164, 1230.33935480374942),
)  # fmt: skip
_LARGE = (
    (0.0163153871373020978, 0.305326634961232344, 0.360344899949804439, 0.125781726111229246,
     0.0160837851487422766, 0.000658749161529837803),
    (1.0, 2.56852019228982242, 1.87295284992346725, 0.527905102951428412, 0.0605183413124413191,
     0.00233520497626869185),
)  # fmt: skip
_ONE_OVER_ROOT_PI = 0.5641895835477562869


def _quotient(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Any) -> Any:
    """P(x) / Q(x) by Horner's rule."""
    numerator, denominator = (np.full_like(x, c[0]) for c in coefficients)
    for p, q in zip(coefficients[0][1:], coefficients[1][1:], strict=True):
        numerator, denominator = numerator * x + p, denominator * x + q
    return numerator / denominator


def erf(x: Any, /) -> Any:
    """The error function, 2/√π ∫₀ˣ exp(-t²) dt, computed in float64 and returned in x's dtype.

    x (...) -> y (...)
    """
    wide = np.asarray(x, dtype=np.float64)
    a = np.abs(wide)
    y = np.empty_like(wide)

    small = a <= 0.46875
    z = wide[small]
    y[small] = z * _quotient(_SMALL, z * z)

    middle = (a > 0.46875) & (a <= 4.0)
    z = a[middle]
    y[middle] = 1.0 - np.exp(-z * z) * _quotient(_MIDDLE, z)

    large = a > 4.0  # from 6 on, erf is 1 to the last digit of float64
    z = np.minimum(a[large], 6.0)
    w = 1.0 / (z * z)
    y[large] = 1.0 - np.exp(-z * z) / z * (_ONE_OVER_ROOT_PI - w * _quotient(_LARGE, w))

    y = np.where(small, y, np.copysign(y, wide))
    return np.where(np.isnan(wide), wide, y).astype(np.asarray(x).dtype)
