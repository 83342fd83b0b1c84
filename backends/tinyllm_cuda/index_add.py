"""Rows added up by their index, in the order in which they stand: the same bits in every run."""

from typing import Any

import numpy as np

from tinyllm_cuda.launch import Device, Kernel, launch

_THREADS = 256


def index_add(device: Device, n: int, ids: Any, values: Any) -> Any:
    """Add up the rows that share an index: out[i] = Σ values[k] over the k with ids[k] = i.

    ids (N,), values (N, D) -> out (n, D)

    `values` are float32 or float64. Ids are sorted first, so that each sum has an order.
    """
    xp, D = device.xp, values.shape[1]
    if not (n and values.size):
        return xp.zeros((n, D), dtype=values.dtype)
    order = xp.argsort(ids, kind="stable")
    first = xp.searchsorted(ids[order], xp.arange(n + 1), side="left")
    out = xp.empty((n, D), dtype=values.dtype)
    kernel = Kernel(
        source="index_add.cu", name="index_add", threads=_THREADS,
        macros=(("DOUBLE", 1),) if values.dtype == np.float64 else (),
    )  # fmt: skip
    arguments = (xp.ascontiguousarray(values), order, first, out, D)
    launch(device, kernel, (n, -(-D // _THREADS)), arguments)
    return out
