"""Which kernels compute attention, by the GPU, the type of the arrays and the size of heads."""

from typing import Any

import ml_dtypes
import numpy as np

from tinyllm_cuda.launch import Device, Kernel

BLOCK = 64  # queries, or keys, of a block of the tier "mma"
LARGEST_HEAD = 256


def choose(device: Device, dtype: Any, head_dim: int) -> str | None:
    """Name the fastest tier of kernels that is right for such arrays; None where there is none.

    "f32" runs on every GPU, "mma" on the tensor cores of Ampere and later.
    """
    if head_dim % 16 or not 0 < head_dim <= LARGEST_HEAD:
        return None
    if dtype == np.float32:
        return "f32" if _f32_rows(device, head_dim) else None
    if dtype not in (np.float16, ml_dtypes.bfloat16) or device.architecture < 80:
        return None
    fits = head_dim <= 128 or head_dim % 32 == 0  # of more, a block has half the columns
    return "mma" if fits else None


def kernel(
    device: Device, tier: str, name: str, head_dim: int, dtype: Any, *, plain: bool = True
) -> Kernel:
    """Return the kernel flash_`name` of a tier for arrays of `dtype` and `head_dim`.

    `plain` scores have no soft cap and no slopes: what makes them is left out.
    """
    make = {"f32": _f32, "mma": _mma}[tier]
    source, threads, shared_memory, macros = make(device, name, head_dim)
    options = {"D": head_dim, **macros}
    if dtype == np.float16:
        options["FP16"] = 1
    if plain and tier != "f32":
        options["PLAIN"] = 1
    return Kernel(
        source=source if name == "forward" else source.replace(".", "_backward."),
        name=f"flash_{name}",
        threads=threads,
        shared_memory=0 if name == "delta" else shared_memory,
        macros=tuple(options.items()),
    )


def rows(device: Device, tier: str, head_dim: int) -> int:
    """Count the queries of a forward block, and of both of a backward one's: queries or keys."""
    return _f32_rows(device, head_dim) if tier == "f32" else BLOCK


def key_parts(tier: str, head_dim: int) -> int:
    """Count the blocks that share the columns of dK and dV, which fill a block's registers."""
    return 2 if tier == "mma" and head_dim > 128 else 1


def _f32(device: Device, name: str, d: int) -> tuple[str, int, int, dict[str, int]]:
    n = _f32_rows(device, d)
    return "flash_f32.cu", 256, _f32_bytes(n, d, 3 if name == "forward" else 4), {"ROWS": n}


def _f32_rows(device: Device, d: int) -> int:
    """Find how many rows a tile may have for a block's tiles to fit; 0 where none do."""
    fits = (n for n in (64, 32, 16) if _f32_bytes(n, d, 4) <= device.shared_memory)
    return next(fits, 0)


def _f32_bytes(n: int, d: int, tiles: int) -> int:
    """Count the bytes of tiles of n rows, and of one of scores; each row is 4 floats longer."""
    return 4 * n * (tiles * (d + 4) + n + 4)


def _mma(device: Device, name: str, d: int) -> tuple[str, int, int, dict[str, int]]:
    row = 2 * (d + 8)  # bytes; 16 of them for the banks
    if name == "forward":
        keys = 64 if d <= 128 else 32
        return "flash_mma.cu", 128, row * (BLOCK + 2 * keys), {"B_C": keys}
    step = 64 if d <= 64 else 32 if d <= 128 else 16
    return "flash_mma.cu", 128, row * (2 * BLOCK + 4 * step), {"STEP": step}
