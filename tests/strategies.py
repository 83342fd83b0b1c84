"""What hypothesis draws: small sizes, all unequal often enough, and arrays made from a seed."""

import numpy as np
from hypothesis import strategies as st

from shapes import checked
from tinyllm.central_differences import gradient_error

sizes = st.integers(1, 5)
rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)
scales = st.sampled_from([1e-3, 1.0, 30.0])


def check_pair(xp, forward, backward, *arrays, rng, tolerance=1e-7, **options):
    """Hold a pair's gradient against central differences, and its shapes against its docstring."""
    error = gradient_error(xp, checked(forward), backward, *arrays, rng=rng, **options)
    assert error < tolerance, f"{forward.__name__}: relative gradient error {error:.1e}"


def float32_pair(xp, forward, backward, *arrays, **options):
    """Run a pair in float32: y and all gradients must be finite float32. Return them in NumPy."""
    given = [
        None if a is None else xp.asarray(a.astype(np.float32) if a.dtype.kind == "f" else a)
        for a in arrays
    ]
    kept = [None if a is None else np.array(xp.to_numpy(a)) for a in given]
    y, saved = forward(xp, *given, **options)
    grads = backward(xp, xp.ones_like(y), saved)
    results = [y, *(grads if isinstance(grads, tuple) else (grads,))]
    for result in results:
        if result is not None:
            assert result.dtype == xp.float32
            assert np.isfinite(xp.to_numpy(result)).all()
    for before, now in zip(kept, given):
        assert before is None or np.array_equal(before, xp.to_numpy(now)), "an argument was changed"
    return [None if r is None else xp.to_numpy(r) for r in results]
