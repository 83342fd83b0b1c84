"""y = x Wᵀ as fast as this machine reads W: one product, three cases.

many rows    BLAS multiplies matrices: it copies W into a form of its own, which pays off; workers
             share the rows of W, for threads of BLAS would wait, spinning, on the cores that the
             next steps want
one row      every weight is used once, so what counts is the order in which W lies in memory
a few rows   one row after another over a block of W that stays in the cache: the copy would cost
             more than the product

Weights kept as bfloat16 are widened to float32 a block at a time.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tinyllm_numpy.threads import parallel_map

FEW = 8  # rows up to which a block of W is read again for each
BLOCK_BYTES = 2**18  # of W: it stays in a core's own cache
SHARED_BYTES = 2**22  # of W: from here on it pays to share the rows of W among workers
SHARED_PRODUCTS = 2**24  # of numbers: the same where there are many rows of x
COPY_BYTES = 2**26  # of W: larger matrices are never copied


@dataclass(frozen=True, slots=True)
class Packed:
    """A matrix (D, C) that is kept as its transpose (C, D)."""

    transpose: Any


def pack(weights: Sequence[Any], /) -> Any:
    """Stack matrices that multiply the same rows (see `tinyllm.backend.Backend`).

    Measured on two cores (GB/s of weights, one row): 864 x 288 reads at 12 as stored and at 18
    transposed, 4096 x 768 at 28 and 33, 768 x 2048 at 30 and 24: rows of W shorter than a page want
    to be columns. It costs a copy, so large matrices stay where they are, mapped from a file.
    """
    first = weights[0]
    D, C = sum(len(weight) for weight in weights), first.shape[1]
    short_rows = (C < 512 and D >= C) or (C < 1024 and D >= 2 * C)
    if short_rows and D * C * first.itemsize <= COPY_BYTES and first.dtype != bfloat16:
        return Packed(np.concatenate(weights).T.copy())  # `copy` lays the columns of W in rows
    return first if len(weights) == 1 else None


def linear(x: Any, weight: Any, /) -> Any:
    """Multiply rows by a stored matrix, y = x Wᵀ (see `tinyllm.backend.Backend`)."""
    rows, packed = len(x), isinstance(weight, Packed)
    stored = weight.transpose.T if packed else weight
    if stored.dtype == bfloat16:
        return _by_shares(_widened, x, stored)
    if rows == 1:
        return x @ stored.T if packed else (stored @ x[0])[None]
    if packed and rows <= FEW // 2:
        if stored.nbytes < SHARED_BYTES:
            return np.matmul(x[:, None, :], stored.T)[:, 0]
        return _by_shares(_row_by_row_transposed, x, stored)
    if rows <= FEW and stored.nbytes >= SHARED_BYTES:
        return _by_shares(_row_by_row, x, stored)
    if rows > FEW and rows * stored.size >= SHARED_PRODUCTS:
        return _by_shares(_at_once, x, stored)
    return x @ stored.T


def _by_shares(multiply: Any, x: Any, weight: Any) -> Any:
    """Give each worker a run of rows of W, and so of columns of y."""
    y = np.empty((len(x), len(weight)), x.dtype)
    middle = len(weight) // 2
    shares = [slice(0, middle), slice(middle, None)]
    parallel_map(lambda share: multiply(x, weight[share], y[:, share]), shares)
    return y


def _at_once(x: Any, weight: Any, y: Any) -> None:
    np.matmul(x, weight.T, out=y)


def _row_by_row(x: Any, weight: Any, y: Any) -> None:
    """Read a block of W once from memory, and once from the cache for each further row of x."""
    D, C = weight.shape
    height = max(1, BLOCK_BYTES // (C * weight.itemsize))
    blocks, rest = divmod(D, height)
    if blocks:  # NumPy's loop over the leading axes is the loop over blocks, then rows
        stacked = weight[: D - rest].reshape(blocks, 1, height, C)
        product = np.matmul(stacked, x[None, :, :, None])  # (blocks, N, height, 1)
        y[:, : D - rest].reshape(len(x), blocks, height)[...] = product[..., 0].transpose(1, 0, 2)
    if rest:
        y[:, D - rest :] = _each_row(x, weight[D - rest :])


def _row_by_row_transposed(x: Any, weight: Any, y: Any) -> None:
    """The same where the columns of W are its rows in memory."""
    D, C = weight.shape
    width = max(1, BLOCK_BYTES // (C * weight.itemsize))
    for start in range(0, D, width):
        block = weight[start : start + width].T
        y[:, start : start + width] = np.matmul(x[:, None, :], block)[:, 0]


def _each_row(x: Any, block: Any) -> Any:
    """y = x Wᵀ by one product of W with a vector for each row of x."""
    return np.matmul(block, x[:, :, None])[..., 0]


def _widened(x: Any, weight: Any, y: Any) -> None:
    """Widen a block of bfloat16 to float32, whose upper half has the same bits; then multiply."""
    D, C = weight.shape
    few = len(x) <= FEW
    height = max(1, min(D, (4 if few else 64) * BLOCK_BYTES // (C * 4)))
    halves = np.zeros((height, C, 2), np.uint16)
    upper = 1 if sys.byteorder == "little" else 0
    bits = weight.view(np.uint16)
    for start in range(0, D, height):
        part = bits[start : start + height]
        halves[: len(part), :, upper] = part
        block = halves[: len(part)].reshape(len(part), 2 * C).view(np.float32)
        y[:, start : start + height] = _each_row(x, block) if few else x @ block.T
