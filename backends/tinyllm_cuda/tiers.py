"""Which kernels compute attention, by the GPU, the type of the arrays and the size of heads."""

from typing import Any

import ml_dtypes
import numpy as np

from tinyllm_cuda.launch import Device, Kernel

BLOCK = 64  # queries, or keys, of a block of the tier "mma", or of a warpgroup
STAGES = 2  # tiles that a ring of the tier "wgmma" has
LARGEST_HEAD = 256


def choose(device: Device, dtype: Any, head_dim: int) -> str | None:
    """Name the fastest tier of kernels that is right for such arrays; None where there is none.

    "f32" runs on every GPU, "mma" on the tensor cores of Ampere and later, "wgmma" on Hopper's.
    """
    if head_dim % 16 or not 0 < head_dim <= LARGEST_HEAD:
        return None
    if dtype == np.float32:
        return "f32" if _f32_rows(device, head_dim) else None
    if dtype not in (np.float16, ml_dtypes.bfloat16) or device.architecture < 80:
        return None
    if head_dim > 128 and head_dim % 32:  # a block has half the columns of dK and dV
        return None
    hopper = device.architecture == 90 and device.tensor_map is not None
    return "wgmma" if hopper else "mma"


def backward_tier(tier: str, head_dim: int) -> str:
    """Name the tier of the backward pass: wgmma's registers hold dK and dV of heads up to 128."""
    return "mma" if tier == "wgmma" and head_dim > 128 else tier


def kernel(
    device: Device, tier: str, name: str, head_dim: int, dtype: Any, *, plain: bool = True
) -> Kernel:
    """Return the kernel flash_`name` of a tier for arrays of `dtype` and `head_dim`.

    `plain` scores have no soft cap and no slopes: what makes them is left out.
    """
    threads, shared_memory, sizes = {"f32": _f32, "mma": _mma, "wgmma": _wgmma}[tier](
        device, name, head_dim
    )
    source, macros = f"flash_{tier}.cu", {"D": head_dim}
    if dtype == np.float16:
        macros["FP16"] = 1
    if name == "delta" and tier != "f32":
        source = "flash_delta.cu"
    else:
        source = source if name == "forward" else source.replace(".", "_backward.")
        macros |= sizes | ({"PLAIN": 1} if plain and tier != "f32" else {})
    return Kernel(
        source=source,
        name=f"flash_{name}",
        threads=threads,
        shared_memory=shared_memory,
        macros=tuple(macros.items()),
    )


def rows(device: Device, tier: str, head_dim: int) -> int:
    """Count the queries of a block, or the keys of a backward one."""
    return {"f32": _f32_rows(device, head_dim), "mma": BLOCK, "wgmma": 2 * BLOCK}[tier]


def key_parts(tier: str, head_dim: int) -> int:
    """Count the blocks that share the columns of dK and dV, which fill a block's registers."""
    return 2 if tier == "mma" and head_dim > 128 else 1


def _f32(device: Device, name: str, d: int) -> tuple[int, int, dict[str, int]]:
    """Return threads, bytes of shared memory and sizes of tiles; so do the two below."""
    n = _f32_rows(device, d)
    tiles = {"forward": 3, "delta": 0}.get(name, 4)
    return 256, _f32_bytes(n, d, tiles) if tiles else 0, {"ROWS": n}


def _f32_rows(device: Device, d: int) -> int:
    """Find how many rows a tile may have for a block's tiles to fit; 0 where none do."""
    fits = (n for n in (64, 32, 16) if _f32_bytes(n, d, 4) <= device.shared_memory)
    return next(fits, 0)


def _f32_bytes(n: int, d: int, tiles: int) -> int:
    """Count the bytes of tiles of n rows, and of one of scores; each row is 4 floats longer."""
    return 4 * n * (tiles * (d + 4) + n + 4)


def _mma(device: Device, name: str, d: int) -> tuple[int, int, dict[str, int]]:
    row = 2 * (d + 8)  # bytes; 16 of them for the banks
    if name == "delta":
        return 128, 0, {}
    if name == "forward":
        step = 64 if d <= 128 else 32
        return 128, row * (BLOCK + 2 * step), {"STEP": step}
    step = 64 if d <= 64 else 32 if d <= 128 else 16
    return 128, row * (2 * BLOCK + 4 * step), {"STEP": step}


def _wgmma(device: Device, name: str, d: int) -> tuple[int, int, dict[str, int]]:
    row, barriers = 2 * -(-d // 64) * 64, 1024  # bytes; barriers take as much as tiles align to
    if name == "delta":
        return 128, 0, {}
    step = 128 if name == "forward" and d <= 128 else 64
    block = (1 if name == "forward" else 2) * (row * 2 * BLOCK + barriers)
    rings = 2 * (row * step * STAGES + barriers)
    return 384, block + rings, {"STEP": step, "STAGES": STAGES}
