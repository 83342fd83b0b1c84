"""Gradients of a few rows of a large table."""

import numpy as np

from tinyllm.backend import Array, Backend


def take_rows(xp: Backend, table: Array, ids: np.ndarray) -> Array:
    """Look up rows by their numbers, which are on the host: ids (...) -> rows (..., D)."""
    rows = xp.take(table, xp.asarray(ids.reshape(-1)), axis=0)
    return xp.reshape(rows, (*ids.shape, table.shape[1]))


def sum_rows(xp: Backend, ids: np.ndarray, rows: Array) -> tuple[Array, Array]:
    """Add up the rows that share a number, so that each number is left once.

    ids (N,), rows (N, D) -> ids (n,), sums (n, D)

    So `table[ids] = table[ids] - sums` is right, which with repeated ids would keep one of them.
    """
    unique, inverse = np.unique(ids, return_inverse=True)
    return xp.asarray(unique), xp.index_add(len(unique), xp.asarray(inverse), rows)
