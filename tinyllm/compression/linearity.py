"""How much of what a block does a linear map does as well.

Razzhigaev et al. 2024, "Your transformer is secretly linear" (arXiv:2405.12250). The rows of x and
y are what goes into a block and what comes out, for the same tokens; all is in float64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.errors import UsageError

ENOUGH = 10  # tokens for each feature: with fewer, chance alone makes a score


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearMap:
    """An affine map of row vectors: x -> (x - mean_x) A + mean_y."""

    mean_x: Any  # (D,)
    matrix: Any  # (D, D)
    mean_y: Any  # (D,)

    def __call__(self, x: Any) -> Any:
        """Map the last axis: x (..., D) -> y (..., D)."""
        return (x - self.mean_x) @ self.matrix + self.mean_y


def linearity_score(x: Any, y: Any) -> float:
    """Return the share of y's variance that a linear map of x explains: 1 - min_A ‖X A - Y‖²_F.

    x (N, D), y (N, C)

    X and Y are x and y, centred and divided by their Frobenius norms. The score is R² of the
    regression: ‖Uᵀ Y‖² for an orthonormal basis U of X's columns, which needs no A and bears
    columns that depend on each other. Of independent x and y it is about D / (N - 1), not 0: see
    `adjusted`. A constant y is explained whole. Raises UsageError where there are too few rows.
    """
    x, y = _centred(x), _centred(y)
    require_tokens(len(x), x.shape[1], least=1)
    basis, singular, _ = np.linalg.svd(x, full_matrices=False)
    basis = basis[:, singular > singular[0] * max(x.shape) * np.finfo(x.dtype).eps]
    total = np.sum(y * y)
    return float(np.sum((basis.T @ y) ** 2) / total) if total > 0.0 else 1.0


def adjusted(score: float, tokens: int, features: int) -> float:
    """Take from a score what chance alone explains: 1 - (1 - R²) (N - 1) / (N - 1 - D)."""
    return 1.0 - (1.0 - score) * (tokens - 1) / (tokens - 1 - features)


def block_influence(x: Any, y: Any) -> float:
    """Return how far a block turns its tokens: BI = 1 - mean cos(x_n, y_n), from 0 to 2.

    x (N, D), y (N, D)

    Men et al. 2024, "ShortGPT" (arXiv:2403.03853), eq. 1.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    if not np.all(lengths > 0.0):
        raise UsageError("a token's vector is zero, and has no direction")
    return float(1.0 - np.mean(np.sum(x * y, axis=-1) / lengths))


def fit_linear_map(x: Any, y: Any) -> LinearMap:
    """Return the map of least squared error: min Σ ‖(x - mean_x) A + mean_y - y‖².

    x (N, D), y (N, C)
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean_x, mean_y = np.mean(x, axis=0), np.mean(y, axis=0)
    matrix, *_ = np.linalg.lstsq(x - mean_x, y - mean_y, rcond=None)
    return LinearMap(mean_x=mean_x, matrix=matrix, mean_y=mean_y)


def require_tokens(tokens: int, features: int, *, least: int = ENOUGH) -> None:
    """Raise UsageError where so few tokens could be fitted by chance."""
    if tokens < least * features + 2:
        raise UsageError(
            f"{tokens} tokens are too few for {features} features: a linear map fits them by "
            f"chance; use at least {least * features + 2}"
        )


def _centred(x: Any) -> Any:
    x = np.asarray(x, np.float64)
    return x - np.mean(x, axis=0)
