"""Products of matrices: CuPy's own, and those of 16-bit matrices, which are summed in float32.

CuPy's `@` rounds a 16-bit product to 16 bits again, and of more than two axes it multiplies float16
in float32 and bfloat16 not at all. cuBLAS sums in float32 on tensor cores and gives that sum.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import cupy as cp
import numpy as np
from ml_dtypes import bfloat16

import tinyllm_cupy
from tinyllm.ops.quantization import Quantized, dequantize

_XP: Any = tinyllm_cupy
NARROW = (np.dtype(bfloat16), np.dtype(np.float16))


def linear(x: Any, weight: Any, /) -> Any:
    """Multiply rows by a stored matrix, y = x Wᵀ (see `tinyllm.backend.Backend`).

    Where W has 16 bits, x is rounded to as many; one of 8 or 4 is widened to float32 first.
    """
    if isinstance(weight, Quantized):
        weight = dequantize(_XP, weight)
    return matmul(x, weight.T)


def pack(weights: Sequence[Any], /) -> Any:
    """Return a single matrix as it is, and leave several apart."""
    return weights[0] if len(weights) == 1 else None


def matmul(a: Any, b: Any, /) -> Any:
    """Multiply matrices, or stacks of them; where one has 16 bits the other is rounded to them.

    a (..., m, k), b (..., k, n) -> (..., m, n), in float32 where 16-bit numbers are multiplied
    """
    narrow = next((x.dtype for x in (b, a) if x.dtype in NARROW), None)
    if narrow is None:
        return cp.matmul(a, b)
    a, b = (x.astype(narrow, copy=False) for x in (a, b))
    (m, k), n = a.shape[-2:], b.shape[-1]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = (cp.empty if k else cp.zeros)((*batch, m, n), dtype=np.float32)
    if y.size and k:
        _gemm(_stack(a, batch), _stack(b, batch), cp.reshape(y, (-1, m, n)))
    return y


def _gemm(a: Any, b: Any, y: Any) -> None:
    """Write a b into y (N, m, n), matrix by matrix; a or b may be a single one.

    cuBLAS reads columns where we write rows, so it is asked for yᵀ = bᵀ aᵀ.
    """
    cublas, runtime = cp.cuda.cublas, cp.cuda.runtime
    (N, m, n), k = y.shape, a.shape[-1]
    kind = runtime.CUDA_R_16F if a.dtype == np.float16 else runtime.CUDA_R_16BF
    one, zero = np.array(1, np.float32), np.array(0, np.float32)
    (a, a_turned, a_width), (b, b_turned, b_width) = _in_rows(a), _in_rows(b)
    cublas.gemmStridedBatchedEx(
        cp.cuda.device.get_cublas_handle(), b_turned, a_turned, n, m, k, one.ctypes.data,
        b.data.ptr, kind, b_width, _step(b), a.data.ptr, kind, a_width, _step(a), zero.ctypes.data,
        y.data.ptr, runtime.CUDA_R_32F, n, m * n, N,
        cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip


def _stack(x: Any, batch: tuple[int, ...]) -> Any:
    """Give a stack of matrices one axis before their two: of length 1 where all are the same."""
    if prod(x.shape[:-2]) > 1:
        x = cp.broadcast_to(x, (*batch, *x.shape[-2:]))
    return cp.reshape(x, (-1, *x.shape[-2:]))


def _in_rows(x: Any) -> tuple[Any, int, int]:
    """Return (x, 0, width) of rows in memory, (x, 1, width) of columns; a copy if it is neither."""
    (rows, columns), (down, across) = x.shape[-2:], (s // x.itemsize for s in x.strides[-2:])
    if across == 1 and down >= columns:
        return x, 0, down
    if down == 1 and across >= rows:
        return x, 1, across
    return cp.ascontiguousarray(x), 0, columns


def _step(x: Any) -> int:
    """Return how many numbers lie between two matrices of a stack; 0 where there is one for all."""
    return x.strides[0] // x.itemsize if x.shape[0] > 1 else 0
