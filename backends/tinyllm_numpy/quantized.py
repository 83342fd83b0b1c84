"""y = x Wᵀ where W is kept in whole numbers of few bits: widened a block of rows at a time."""

from typing import Any

import numpy as np

from tinyllm.ops.quantization import Quantized, dequantize
from tinyllm_numpy.threads import one_blas_thread, parallel_map

BLOCK = 2**18  # weights that are wide at the same time: a block stays in a core's own cache
SHARED = 2**20  # weights from which on it pays to share the rows of W among workers
_XP: Any = np  # has all of a backend that widening needs


def quantized_linear(x: Any, weight: Quantized) -> Any:
    """Multiply rows by a stored matrix, y = x Wᵀ.

    x (N, C) -> y (N, D)
    """
    D, C = weight.shape
    y, height = np.empty((len(x), D), x.dtype), max(1, BLOCK // C)

    def multiply(share: range) -> None:
        for start in range(share.start, share.stop, height):
            stop = min(start + height, share.stop)
            block = dequantize(_XP, weight.rows(start, stop))
            y[:, start:stop] = x @ block.T if len(x) > 1 else block @ x[0]

    middle = D // 2 if D * C >= SHARED else 0
    with one_blas_thread:
        parallel_map(multiply, [range(middle), range(middle, D)])
    return y
