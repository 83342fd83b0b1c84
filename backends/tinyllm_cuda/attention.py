"""Attention by kernels: FlashAttention's two passes, on the tier that device and arrays allow.

`tinyllm.ops.flash` defines what they compute. Which keys a query sees is a band here: those at a
distance of `least` ≤ distance < `most` tokens before it, so causal masks and windows are bands.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tinyllm.errors import UsageError
from tinyllm_cuda.launch import Device, address, launch
from tinyllm_cuda.tiers import backward_tier, choose, kernel, key_parts, rows

FAR = 2**30  # tokens: farther than any text is long


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Which keys a query sees, and what is done to q · k: scale, soft cap c tanh(S/c), slopes.

    Query 0 stands `offset` tokens after key 0. A soft cap of 0 is none; `slopes` (H,) are ALiBi's,
    float32 on the device. Raises UsageError where the scale is not above 0.
    """

    scale: float
    offset: int = 0
    least: int = -FAR
    most: int = FAR
    softcap: float = 0.0
    slopes: Any = None

    def __post_init__(self) -> None:
        """Check what the kernels take for granted: the largest q · k is the largest score."""
        if not self.scale > 0:
            raise UsageError(f"attention's scale is {self.scale}, expected a number above 0")

    @property
    def plain(self) -> bool:
        """Whether a score is q · k times the scale, and nothing else."""
        return self.softcap == 0.0 and self.slopes is None


def flash_forward(device: Device, q: Any, k: Any, v: Any, band: Band) -> tuple[Any, Any]:
    """Mix values by how well queries match keys; returns o, and L = log Σ exp(S) of each query.

    q (B, H, T, d), k (B, K, S, d), v (B, K, S, d) -> o (B, H, T, d), lse (B, H, T)

    A query that sees nothing gives 0, and its lse is -inf. Algorithm 1 of arXiv:2307.08691. Raises
    UsageError where no kernel takes such arrays.
    """
    tier = _tier(device, q, k, v)
    B, H, T, d = q.shape
    o, lse = device.xp.empty_like(q), device.xp.empty(q.shape[:3], dtype=np.float32)
    if q.size:
        tier = tier if k.size else tier.replace("wgmma", "mma")  # nothing has no tensor map
        forward = kernel(device, tier, "forward", d, q.dtype, plain=band.plain)
        inputs = _inputs(device, tier, q, k, v)
        arguments = kernel_arguments(device, inputs, (o, lse), q, k, band)
        launch(device, forward, (-(-T // rows(device, tier, d)), B * H), arguments)
    return o, lse


def flash_backward(
    device: Device, do: Any, q: Any, k: Any, v: Any, o: Any, lse: Any, band: Band
) -> tuple[Any, Any, Any]:
    """Return dq, dk and dv of `flash_forward`: the same bits for the same arrays, in every run.

    Algorithm 2 of arXiv:2307.08691, in two kernels that each make the scores anew, where one that
    makes them once would have to add up dq in an order that changes.
    """
    (B, H, T, d), (K, S) = q.shape, k.shape[1:3]
    tier = backward_tier(_tier(device, q, k, v, o, do), d)
    tier = tier if q.size and k.size else tier.replace("wgmma", "mma")
    delta, xp = device.xp.empty_like(lse), device.xp
    dq, dk, dv = (xp.empty_like(x) for x in (q, k, v))
    inputs = *_inputs(device, tier, q, k, v, do), lse, delta
    block = rows(device, tier, d)
    if q.size:
        by_row = kernel(device, tier, "delta", d, q.dtype, plain=band.plain)
        n = B * H * T
        launch(device, by_row, (-(-n * 16 // by_row.threads),), (o, do, delta, n))
        over_keys = kernel(device, tier, "backward_q", d, q.dtype, plain=band.plain)
        arguments = kernel_arguments(device, inputs, (dq,), q, k, band)
        launch(device, over_keys, (-(-T // block), B * H), arguments)
    if k.size:
        over_queries = kernel(device, tier, "backward_kv", d, q.dtype, plain=band.plain)
        arguments = kernel_arguments(device, inputs, (dk, dv), q, k, band)
        launch(device, over_queries, (-(-S // block), B * K, key_parts(tier, d)), arguments)
    return dq, dk, dv


def check_arrays(q: Any, *others: Any) -> None:
    """Raise UsageError where arrays of attention disagree; the first three are q, k and v."""
    d = q.shape[-1]
    if any(x.dtype != q.dtype or x.shape[-1] != d for x in others):
        kinds = [f"{x.dtype} {x.shape}" for x in (q, *others)]
        raise UsageError(f"attention's arrays are {', '.join(kinds)}, expected one dtype and width")
    if others[0].shape != others[1].shape or q.shape[1] % others[0].shape[1]:
        shapes = [x.shape for x in (q, *others[:2])]
        raise UsageError(f"queries, keys and values of {shapes}: their heads do not share")
    if any(address(x) % 16 for x in (q, *others)):
        raise UsageError("an array of attention begins at no multiple of 16 bytes; copy it first")


def _tier(device: Device, q: Any, *others: Any) -> str:
    """Return the tier for these arrays; raise UsageError where they have none, or disagree."""
    check_arrays(q, *others)
    tier = choose(device, q.dtype, q.shape[-1])
    if tier is None:
        raise UsageError(
            f"no attention kernel takes {q.dtype} heads of size {q.shape[-1]} on compute "
            f"capability {device.architecture / 10}"
        )
    return tier


def _inputs(device: Device, tier: str, *arrays: Any) -> tuple[Any, ...]:
    """Return arrays as a tier's kernels take them: as they are, or as TMA's descriptions."""
    if tier != "wgmma":
        return arrays
    assert device.tensor_map is not None
    return tuple(device.tensor_map(x) for x in arrays)


def kernel_arguments(
    device: Device, inputs: Any, outputs: Any, q: Any, k: Any, band: Band
) -> tuple[Any, ...]:
    """Put a kernel's arguments in order: arrays in, arrays out, sizes, the band."""
    (_, H, T, _), (K, S) = q.shape, k.shape[1:3]
    slopes = _no_slopes(device, H) if band.slopes is None else band.slopes
    sizes = (H, H // K, T, S, band.offset, band.least, band.most)
    return *inputs, slopes, *outputs, *sizes, band.scale, band.softcap


@cache
def _no_slopes(device: Device, n_heads: int) -> Any:
    return device.xp.zeros(n_heads, dtype=np.float32)
