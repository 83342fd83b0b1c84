"""y = x Wᵀ as fast as this machine reads W: one product, three cases.

many rows    BLAS multiplies matrices: it copies W into a form of its own, which pays off; workers
             share the rows of W, for threads of BLAS would wait, spinning, on the cores that the
             next steps want
one row      every weight is used once, so what counts is the order in which W lies in memory
a few rows   one row after another over a block of W that stays in the cache: the copy would cost
             more than the product

Weights kept in 16 bits are widened to float32 a block at a time.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tinyllm.ops.quantization import Quantized
from tinyllm_numpy.quantized import quantized_linear
from tinyllm_numpy.threads import one_blas_thread, parallel_map

FEW, FEW_PACKED = 6, 4  # rows up to which a block of W is read again for each
MANY = 32  # rows from which on workers divide the work better than BLAS does
BLOCK_BYTES = 2**18  # of W: it stays in a core's own cache
SHARED_BYTES = 2**21  # of W: from here on it pays to share the rows of W among workers
SHARED_PRODUCTS = 2**24  # of numbers: the same where there are many rows of x
SHORT = 512  # numbers in a row of W
COPY_BYTES = 2**26  # of W: larger matrices are never copied


@dataclass(frozen=True, slots=True)
class Packed:
    """A matrix (D, C) that is kept as its transpose (C, D)."""

    transpose: Any


def pack(weights: Sequence[Any], /) -> Any:
    """Stack matrices that multiply the same rows (see `tinyllm.backend.Backend`).

    Measured on two cores (GB/s of weights, one row): 864 x 288 reads at 12 as stored and at 18
    transposed, 32000 x 288 at 19 and 27, 768 x 2048 at 30 and 24: short rows of W want to be
    columns. It costs a copy; all other matrices stay where they are, mapped from a file.
    """
    first = weights[0]
    if isinstance(first, Quantized):
        return first if len(weights) == 1 else None
    D, C = sum(len(weight) for weight in weights), first.shape[1]
    small = D * C * first.itemsize <= COPY_BYTES and first.itemsize > 2
    if C < SHORT and D >= C and small:
        return Packed(np.concatenate(weights).T.copy())  # `copy` lays the columns of W in rows
    return first if len(weights) == 1 else None


def linear(x: Any, weight: Any, /) -> Any:
    """Multiply rows by a stored matrix, y = x Wᵀ (see `tinyllm.backend.Backend`)."""
    if isinstance(weight, Quantized):
        return quantized_linear(x, weight)
    rows, packed = len(x), isinstance(weight, Packed)
    stored = weight.transpose.T if packed else weight
    narrow = stored.itemsize == 2
    if rows == 1 and not narrow:
        return x @ stored.T if packed else (stored @ x[0])[None]
    few = rows <= (FEW_PACKED if packed else FEW)
    if not few and rows < MANY and not narrow:
        return x @ stored.T
    if narrow:
        multiply = _widened
    elif few:
        multiply = _row_by_row_transposed if packed else _row_by_row
    else:
        multiply = _at_once
    y = np.empty((rows, len(stored)), x.dtype)
    with one_blas_thread:
        if stored.nbytes < SHARED_BYTES if few else rows * stored.size < SHARED_PRODUCTS:
            multiply(x, stored, y)
        else:
            middle = len(stored) // 2
            shares = [slice(0, middle), slice(middle, None)]  # of the rows of W
            parallel_map(lambda share: multiply(x, stored[share], y[:, share]), shares)
    return y


def _at_once(x: Any, weight: Any, y: Any) -> None:
    """Leave it to BLAS."""
    np.matmul(x, weight.T, out=y)


def _row_by_row(x: Any, weight: Any, y: Any) -> None:
    """Read a block of W once from memory, and once from the cache for each further row of x."""
    D, C = weight.shape
    height = max(1, min(D, BLOCK_BYTES // (C * weight.itemsize)))
    blocks, rest = divmod(D, height)
    stacked = weight[: D - rest].reshape(blocks, 1, height, C)
    # NumPy's loop over the leading axes is the loop over blocks, then rows.
    product = np.matmul(stacked, x[None, :, :, None])  # (blocks, N, height, 1)
    y[:, : D - rest].reshape(len(x), blocks, height)[...] = product[..., 0].transpose(1, 0, 2)
    if rest:
        y[:, D - rest :] = _each_row(x, weight[D - rest :])


def _row_by_row_transposed(x: Any, weight: Any, y: Any) -> None:
    """The same where the columns of W are its rows in memory."""
    D, C = weight.shape
    width = max(1, min(D, BLOCK_BYTES // (C * weight.itemsize)))
    blocks, rest = divmod(D, width)
    stacked = weight[: D - rest].reshape(blocks, 1, width, C).transpose(0, 1, 3, 2)
    product = np.matmul(x[None, :, None, :], stacked)  # (blocks, N, 1, width)
    y[:, : D - rest].reshape(len(x), blocks, width)[...] = product[:, :, 0].transpose(1, 0, 2)
    if rest:
        y[:, D - rest :] = np.matmul(x[:, None, :], weight[D - rest :].T)[:, 0]


def _each_row(x: Any, block: Any) -> Any:
    """y = x Wᵀ by one product of W with a vector for each row of x."""
    return np.matmul(block, x[:, :, None])[..., 0]


def _widened(x: Any, weight: Any, y: Any) -> None:
    """Widen a block to x's dtype; then multiply."""
    D, C = weight.shape
    few = len(x) <= FEW
    height = max(1, min(D, (4 if few else 64) * BLOCK_BYTES // (C * 4)))
    widen = _bfloat16_widener(height, C) if weight.dtype == bfloat16 else x.dtype.type
    for start in range(0, D, height):
        block = widen(weight[start : start + height])
        y[:, start : start + height] = _each_row(x, block) if few else x @ block.T


def _bfloat16_widener(height: int, C: int) -> Callable[[Any], Any]:
    """Return what makes float32, whose upper half has the same bits, in one array for all."""
    halves = np.zeros((height, C, 2), np.uint16)
    upper = 1 if sys.byteorder == "little" else 0

    def widen(block: Any) -> Any:
        halves[: len(block), :, upper] = block.view(np.uint16)
        return halves[: len(block)].reshape(len(block), 2 * C).view(np.float32)

    return widen
