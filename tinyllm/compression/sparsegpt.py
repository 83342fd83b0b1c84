"""SparseGPT: prune column by column, and let the columns to the right make up for each loss."""

from typing import Any

import numpy as np

from tinyllm.compression.masks import MATRIX, NofM, Pattern, Unstructured, lowest

COLUMNS = 128  # that choose their mask together
DAMPING = 0.01  # of the mean diagonal of the Gram matrix


def sparsegpt(
    weight: Any, gram: Any, pattern: Pattern, *, columns: int = COLUMNS, damping: float = DAMPING
) -> Any:
    """Prune so that the outputs change little: min ‖X Wᵀ - X W'ᵀ‖² over the weights that stay.

    weight (D, C), gram (C, C) -> pruned (D, C)

    Frantar & Alistarh 2023, "SparseGPT" (arXiv:2301.00774), algorithm 1, with gram = XᵀX of the
    inputs X. Removing the weight w of column j costs w² / U_jj², where UᵀU is the Cholesky
    factorisation of the inverse of the damped Gram matrix; what is lost is moved to the columns
    after j along row j of U. A pattern without N:M is met in each run of `columns` columns.
    """
    pattern = _across_rows(pattern)
    if pattern.group(weight.shape)[1] == 0:
        return weight
    W = np.array(weight, np.float64)
    U = _inverse_factor(np.asarray(gram, np.float64), damping)
    width = _run(columns, pattern)
    for start in range(0, W.shape[1], width):
        here = slice(start, min(start + width, W.shape[1]))
        W[:, here], errors = _prune_run(W[:, here], U[here, here], pattern)
        W[:, here.stop :] -= errors @ U[here, here.stop :]
    return W.astype(weight.dtype)


def _prune_run(W: Any, U: Any, pattern: Pattern) -> tuple[Any, Any]:
    """Prune some neighbouring columns; return them, and what each lost divided by its U_jj.

    A mask of N:M is chosen when its columns are reached, for these have changed until then.
    """
    W, errors = W.copy(), np.zeros_like(W)
    cost = np.diag(U) ** 2
    step = pattern.of if isinstance(pattern, NofM) else W.shape[1]
    for j in range(W.shape[1]):
        if j % step == 0:
            mask = lowest(W[:, j : j + step] ** 2 / cost[j : j + step], pattern)
        kept = np.where(mask[:, j % step], 0.0, W[:, j])
        errors[:, j] = (W[:, j] - kept) / U[j, j]
        W[:, j + 1 :] -= errors[:, j, None] * U[j, j + 1 :]
        W[:, j] = kept
    return W, errors


def _across_rows(pattern: Pattern) -> Pattern:
    """Let all weights of a run compete, for their costs can be compared across rows."""
    if isinstance(pattern, Unstructured):
        return Unstructured(sparsity=pattern.sparsity, within=MATRIX)
    return pattern


def _run(columns: int, pattern: Pattern) -> int:
    """Return how many columns choose together: with N:M, a multiple of M."""
    return columns if isinstance(pattern, Unstructured) else -(-columns // pattern.of) * pattern.of


def _inverse_factor(gram: Any, damping: float) -> Any:
    """Return the upper triangular U with UᵀU = (gram + λ I)⁻¹, λ > 0."""
    strength = damping * float(np.mean(np.diag(gram)))
    damped = gram + (strength or 1.0) * np.eye(len(gram))
    return np.linalg.cholesky(np.linalg.inv(damped)).T
