"""Which kernels compute attention, by the GPU, the type of the arrays and the size of heads."""

from typing import Any

import ml_dtypes
import numpy as np

from tinyllm_cuda.launch import Device, Kernel

ROWS = {"f32": 64, "mma": 64, "wgmma": 128}  # queries of a block
KEYS = 64  # keys of a block that goes over the queries


def choose(device: Device, dtype: Any, head_dim: int, *, plain: bool = True) -> str | None:
    """Name the fastest tier of kernels that is right for such arrays; None where there is none.

    "f32" runs on every GPU whose blocks have the shared memory, "mma" on the tensor cores of Ampere
    and later, "wgmma" on Hopper's, forward only. `plain` scores have no soft cap and no slopes.
    """
    if dtype == np.float32:
        fits = _f32_bytes(head_dim, tiles=4) <= device.shared_memory
        return "f32" if fits and head_dim % 16 == 0 and head_dim <= 128 else None
    if dtype not in (np.float16, ml_dtypes.bfloat16) or head_dim not in (64, 128) or not plain:
        return None
    if device.architecture == 90 and device.tensor_map is not None:
        return "wgmma"
    return "mma" if device.architecture >= 80 else None


def kernel(tier: str, name: str, head_dim: int, dtype: Any) -> Kernel:
    """Return the kernel flash_`name` of a tier, compiled for arrays of `dtype` and `head_dim`."""
    d, step = head_dim, 64 if head_dim <= 64 else 32
    source, threads, shared_memory = {
        ("f32", "forward"): ("flash_f32.cu", 256, _f32_bytes(d, tiles=3)),
        ("f32", "delta"): ("flash_f32_backward.cu", 256, 0),
        ("f32", "backward_kv"): ("flash_f32_backward.cu", 256, _f32_bytes(d, tiles=4)),
        ("f32", "backward_q"): ("flash_f32_backward.cu", 256, _f32_bytes(d, tiles=4)),
        ("mma", "forward"): ("flash_mma.cu", 128, 2 * d * 3 * 64),
        ("mma", "delta"): ("flash_mma_backward.cu", 128, 0),
        ("mma", "backward_kv"): ("flash_mma_backward.cu", 128, 2 * d * (2 * 64 + 4 * step)),
        ("mma", "backward_q"): ("flash_mma_backward.cu", 128, 2 * d * (2 * 64 + 4 * 32)),
        ("wgmma", "forward"): ("flash_wgmma.cu", 384, 2 * d * (2 * 64 + 4 * 128) + 128),
    }[tier, name]
    return Kernel(
        source=source,
        name=f"flash_{name}",
        threads=threads,
        shared_memory=shared_memory,
        macros=(("D", d), *((("FP16", 1),) if dtype == np.float16 else ())),
    )


def _f32_bytes(head_dim: int, *, tiles: int) -> int:
    """Count the bytes of some tiles of 64 rows and one of scores, each row 4 floats longer."""
    return 4 * 64 * (tiles * (head_dim + 4) + 64 + 4)
