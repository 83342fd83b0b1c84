"""How the weights of a loaded model are kept: as they are computed with, or in fewer bits.

    bfloat16      the matrices in 16 bits
    float16       the same with more digits and less range: up to 65,504
    int8, int4    projections and head in whole numbers (`tinyllm.ops.quantization`), and the other
                  matrices, which are small, or are looked up, in 16 bits

Norms and biases stay in the dtype that is computed with.
"""

from math import prod
from typing import Any

import numpy as np

from tinyllm.backend import Backend
from tinyllm.errors import CheckpointError
from tinyllm.ops.quantization import GROUP, Quantized, quantize

ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
BITS = {"int8": 8, "int4": 4}
HALVES = ("bfloat16", "float16")
STORAGES = (*HALVES, *BITS)  # beside what is computed with
HALF_MAX = 65504.0  # float16's largest number
_TAKEN_APART = "kv_b_proj.weight"  # latent attention multiplies by parts of it


def kept(xp: Backend, name: str, x: Any, *, dtype: str, storage: str | None) -> Any:
    """Convert a parameter, on the host, to what the backend keeps.

    Raises CheckpointError where it has numbers that float16 does not.
    """
    how = _how(name, x.shape, dtype, storage)
    if how == "float16":
        largest = float(np.max(np.abs(x), initial=0))
        if HALF_MAX < largest < np.inf:
            raise CheckpointError(
                f"{name} has the number {largest:g}, and float16 ends at 65,504: use bfloat16"
            )
    if how not in BITS:
        return xp.asarray(np.ascontiguousarray(x).astype(how, copy=False))
    q = quantize(x, bits=BITS[how])
    return Quantized(bits=q.bits, values=xp.asarray(q.values), scales=xp.asarray(q.scales))


def kept_bytes(name: str, shape: tuple[int, ...], *, dtype: str, storage: str | None) -> int:
    """Return how many bytes a parameter takes."""
    how = _how(name, shape, dtype, storage)
    if how == "int8":
        return prod(shape) + 4 * shape[0]
    if how == "int4":
        return prod(shape) // 2 + 4 * prod(shape) // GROUP
    return prod(shape) * ITEM_BYTES[how]


def _how(name: str, shape: tuple[int, ...], dtype: str, storage: str | None) -> str:
    """Return the dtype, or the kind of whole numbers, in which a parameter is kept."""
    if storage is None or len(shape) != 2:
        return dtype
    if storage not in BITS:
        return storage
    multiplied = name == "lm_head.weight" or name.endswith("_proj.weight")
    whole_groups = storage == "int8" or shape[1] % GROUP == 0
    fits = multiplied and whole_groups and not name.endswith(_TAKEN_APART)
    return storage if fits else "bfloat16"
