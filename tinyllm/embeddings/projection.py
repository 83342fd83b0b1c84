"""Many dimensions on a sheet of paper: principal components."""

import numpy as np

from tinyllm.errors import UsageError


def principal_components(x: np.ndarray, n: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Project rows on the n directions in which they vary most: y = (x - mean) V, from x = U S Vᵀ.

    Returns y (N, n), and the share of the variance in each direction (n,). The sign of a direction
    is free; here the largest entry of each column of y is positive. Directions in which nothing
    varies are zeros. Raises UsageError for fewer than two rows.
    """
    if len(x) < 2:
        raise UsageError(f"there is {len(x)} point to project, expected at least 2")
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    y = np.zeros((len(x), n))
    y[:, : len(s)] = (u * s)[:, :n]
    largest = y[np.argmax(np.abs(y), axis=0), np.arange(n)]
    variance, share = s**2, np.zeros(n)
    share[: len(s)] = (variance / max(variance.sum(), np.finfo(np.float64).tiny))[:n]
    return y * np.where(largest < 0, -1, 1), share
