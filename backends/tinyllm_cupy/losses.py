"""The loss of a batch and its gradient, a block of rows at a time.

The formula has a dozen arrays as large as the logits; of a block they are small beside these.
"""

from typing import Any

import cupy as cp

import tinyllm_cupy
from tinyllm.ops import losses

_XP: Any = tinyllm_cupy
BLOCK = 2**27  # numbers


def summed_cross_entropy(logits: Any, targets: Any, /, **options: float) -> tuple[Any, Any]:
    """Sum the cross-entropy and differentiate it (see `tinyllm.ops.losses`).

    logits (..., V), targets (...) -> loss (), dlogits (..., V)
    """
    flat, ids = cp.reshape(logits, (-1, logits.shape[-1])), cp.reshape(targets, (-1,))
    height = max(1, BLOCK // max(1, flat.shape[1]))
    if len(ids) <= height:
        return losses.summed_cross_entropy(_XP, logits, targets, **options)
    dlogits, loss = cp.empty_like(flat, order="C"), cp.zeros((), dtype=flat.dtype)
    for start in range(0, len(ids), height):
        rows = slice(start, start + height)
        part, dlogits[rows] = losses.summed_cross_entropy(_XP, flat[rows], ids[rows], **options)
        loss = loss + part
    return loss, cp.reshape(dlogits, logits.shape)
