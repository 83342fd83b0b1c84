"""Attention in 8 bits on Hopper, for inference: FlashAttention-3's forward pass in e4m3.

`tinyllm.ops.fp8` says what that is, and simulates it. It errs far more than 16 bits do, and nobody
gets it without asking.
"""

from typing import Any

import numpy as np

from tinyllm.errors import UsageError
from tinyllm_cuda.attention import Band, check_arrays, kernel_arguments
from tinyllm_cuda.launch import Device, Kernel, launch
from tinyllm_cuda.tiers import STAGES, choose

BLOCK = 128  # rows of a head that have a scale in common


def flash_forward_fp8(
    device: Device, q: Any, k: Any, v: Any, band: Band, signs: Any = None
) -> tuple[Any, Any]:
    """Mix values by how well queries match keys, all rounded to e4m3: o and lse of flash_forward.

    q (B, H, T, d), k (B, K, S, d), v (B, K, S, d), signs (d,) -> o (B, H, T, d), lse (B, H, T)

    With `signs`, ±1 at random in float32, queries and keys are rotated first, which spreads
    outliers among their features. Section 3.3 of arXiv:2407.08608. Raises UsageError where the GPU
    is no Hopper, and for heads of another size than 64 and 128.
    """
    check_arrays(q, k, v)
    (B, H, T, d), S = q.shape, k.shape[2]
    if choose(device, q.dtype, d) != "wgmma" or d not in (64, 128):
        raise UsageError(f"fp8 attention of {q.dtype} heads of {d}, expected 64 or 128 on a Hopper")
    if not (q.size and k.size):
        raise UsageError(f"fp8 attention of {T} queries and {S} keys, expected some of both")
    assert device.tensor_map is not None
    o, lse = device.xp.empty_like(q), device.xp.empty(q.shape[:3], dtype=np.float32)
    rounded = [_quantize(device, x, signs) for x in (q, k)] + [_quantize(device, v, None, "VALUES")]
    maps = [device.tensor_map(y) for y, _ in rounded]
    inputs = (*maps, *(scales for _, scales in rounded))
    tiles = BLOCK * BLOCK + STAGES * BLOCK * (BLOCK + d)  # bytes; a row of q or k takes 128
    macros = {"D": d, "STAGES": STAGES, "FP8": 1} | ({"PLAIN": 1} if band.plain else {})
    forward = Kernel(
        source="flash_fp8.cu", name="flash_forward", threads=384, shared_memory=tiles + 3 * 1024,
        macros=(*macros.items(), *_dtype(q)),
    )  # fmt: skip
    arguments = kernel_arguments(device, inputs, (o, lse), q, k, band)
    launch(device, forward, (-(-T // BLOCK), B * H), arguments)
    return o, lse


def _quantize(device: Device, x: Any, signs: Any, *options: str) -> tuple[Any, Any]:
    """Round an array to e4m3 by blocks; returns its bytes, of values transposed, and the scales."""
    (B, K, T, d), blocks = x.shape, -(-x.shape[2] // BLOCK)
    shape = (B, K, d, blocks * BLOCK) if "VALUES" in options else x.shape
    y = device.xp.empty(shape, dtype=np.uint8)
    scales = device.xp.empty((B, K, blocks), dtype=np.float32)
    defined = (*options, *(() if signs is None else ("HADAMARD",)))
    quantize = Kernel(
        source="quantize_e4m3.cu", name="quantize", threads=BLOCK,
        shared_memory=4 * BLOCK * (d + 2),
        macros=(("D", d), ("FP8", 1), *((name, 1) for name in defined), *_dtype(x)),
    )  # fmt: skip
    signs = scales if signs is None else signs  # which the kernel does not read then
    launch(device, quantize, (blocks, B * K), (x, signs, y, scales, T))
    return y, scales


def _dtype(x: Any) -> tuple[tuple[str, int], ...]:
    return (("FP16", 1),) if x.dtype == np.float16 else ()
