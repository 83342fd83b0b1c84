"""Is a backward function the derivative of its forward function?

For a random direction v and a random cotangent dy, d/dh ⟨dy, f(x + h v)⟩ must equal
⟨backward(dy), v⟩. That takes two calls of f, however large x is. And because dy is random it sees
what dy = 1 cannot: a softmax whose gradient is wrongly zero passes every test with dy = 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyllm.backend import Backend


def gradient_error(
    xp: Backend,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *arrays: Any,
    rng: np.random.Generator,
    h: float = 1e-5,
    **options: Any,
) -> float:
    """Return the relative error of `backward` against central differences of `forward`.

    `arrays` are the array arguments in order, in float64; those that are None or not of floats are
    held fixed, and their gradient must be None. About 1e-9 is right; above 1e-6 is a mistake.
    """
    v = [None if a is None or a.dtype.kind != "f" else rng.standard_normal(a.shape) for a in arrays]

    def call(step: float) -> Any:
        moved = (a if d is None else a + step * d for a, d in zip(arrays, v, strict=True))
        return forward(xp, *(None if a is None else xp.asarray(a) for a in moved), **options)

    y, saved = call(0.0)
    dy = rng.standard_normal(y.shape)
    grads = backward(xp, xp.asarray(dy), saved)
    grads = grads if isinstance(grads, tuple) else (grads,)
    upper, lower = (np.sum(dy * xp.to_numpy(call(s)[0])) for s in (h, -h))
    numeric = float(upper - lower) / (2 * h)

    analytic, scale = 0.0, 1.0
    for array, direction, grad in zip(arrays, v, grads, strict=True):
        if direction is None:
            assert grad is None, "an argument that is None or integer has no gradient"
            continue
        assert grad.shape == array.shape, f"gradient {grad.shape} of an argument {array.shape}"
        terms = xp.to_numpy(grad) * direction
        analytic, scale = analytic + float(np.sum(terms)), scale + float(np.sum(np.abs(terms)))
    return abs(numeric - analytic) / scale
