"""Every kernel against float64, by FlashAttention's rule, in arrays that begin as NaN; and twice.

An error may be twice that of the plain computation in the same dtype, rounded after each product,
and twice the last digit of the result beside (hopper/test_flash_attn.py of Dao-AILab's
flash-attention). A second run must give the same bits.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

import tinyllm_numpy
from tinyllm.ops.attention import attention_backward, attention_forward
from tinyllm.ops.fp8 import fp8_attention
from tinyllm.ops.position_mask import PositionMask
from tinyllm_cuda.attention import FAR, Band, flash_backward, flash_forward
from tinyllm_cuda.fp8 import flash_forward_fp8
from tinyllm_cuda.index_add import index_add
from tinyllm_cuda.tiers import choose
from tools.gpu.decoding import decoding
from tools.gpu.machine import DTYPES, Machine
from tools.gpu.results import Results, Row

NAMES = ("o", "dq", "dk", "dv")
LENGTHS = [(203, 331), (1024, 1023), (1, 147), (64, 64)]


class Poisoned:
    """An array library whose new memory is NaN, so that what no kernel writes is seen."""

    def __init__(self, cp: Any) -> None:
        self._cp, self.__name__ = cp, cp.__name__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cp, name)

    def empty(self, shape: Any, dtype: Any) -> Any:
        """Return bits that are all ones: NaN, in 8 bits, too."""
        array = np.empty(shape, dtype)
        array.view(np.uint8)[...] = 255
        return self._cp.asarray(array)

    def empty_like(self, x: Any) -> Any:
        """Return NaN."""
        return self.empty(x.shape, x.dtype)


class Unfused:
    """A backend that rounds each product to a dtype, as the plain computation in it does."""

    def __init__(self, xp: Any, dtype: Any) -> None:
        self._xp, self._dtype = xp, dtype

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def rounded(self, x: Any) -> Any:
        """Round, and come back to float32."""
        return self._xp.astype(self._xp.astype(x, self._dtype), np.float32)

    def matmul(self, a: Any, b: Any, /) -> Any:
        """Multiply what is rounded, and round."""
        return self.rounded(self._xp.matmul(self.rounded(a), self.rounded(b)))


def correctness(machine: Machine, results: Results) -> Iterator[Row]:
    """Try decoding, attention forward and backward on each tier, then the other kernels."""
    yield from decoding(machine)
    for seed, (T, S) in enumerate([(33, 40)] if machine.dry else LENGTHS):
        yield from _attention(machine, T, S, seed)
    for d in (64, 128):
        yield from _eight_bits(machine, d)
    yield _rows_added_up(machine)
    for dtype in ("bfloat16", "float16"):
        yield _product(machine, dtype)


def _attention(machine: Machine, T: int, S: int, seed: int) -> Iterator[Row]:
    """Try the tier that a device has, and on Hopper "mma", too, which other GPUs have."""
    device = replace(machine.xp.device(), xp=Poisoned(machine.cp))
    for dtype, d in product(DTYPES, (16,) if machine.dry else (64, 128)):
        tiers = {choose(x, DTYPES[dtype], d): x for x in (replace(device, tensor_map=None), device)}
        for tier, where in tiers.items():
            if tier is None:
                yield {"kernel": "attention", "dtype": dtype, "d": d, "note": "no kernel"}
                continue
            for causal in (True, False):
                yield _attention_row(machine, where, dtype, d, T, S, causal, seed)


def _attention_row(
    machine: Machine, device: Any, dtype: str, d: int, T: int, S: int, causal: bool, seed: int
) -> Row:
    heads = (1, 2, 1) if machine.dry else (2, 4, 2)  # B, H, K
    shapes = [(heads[0], h, n, d) for h, n in ((heads[1], T), (heads[2], S), (heads[2], S))]
    q, k, v = (machine.random(shape, dtype, 10 * seed + i) for i, shape in enumerate(shapes))
    do = machine.random(shapes[0], dtype, 10 * seed + 7)
    band = Band(scale=d**-0.5, offset=S - T, least=0 if causal else -FAR)

    def run() -> list[Any]:
        o, lse = flash_forward(device, q, k, v, band)
        return [o, *flash_backward(device, do, q, k, v, o, lse, band)]

    got, again = ([machine.xp.to_numpy(x) for x in run()] for _ in range(2))
    mask = PositionMask(queries=np.arange(S - T, S), keys=np.arange(S), causal=causal)
    exact = _plain(machine.xp, np.float64, (q, k, v, do), mask)
    plain = _plain(Unfused(machine.xp, DTYPES[dtype]), np.float32, (q, k, v, do), mask)
    ratios = {
        name: _ratio(a.astype(np.float64), b, c.astype(np.float64), DTYPES[dtype])
        for name, a, b, c in zip(NAMES, got, exact, plain, strict=True)
    }
    same = all(a.tobytes() == b.tobytes() for a, b in zip(got, again, strict=True))
    return {
        "kernel": "attention", "tier": choose(device, DTYPES[dtype], d), "dtype": dtype, "d": d,
        "T": T, "S": S, "causal": causal, **ratios, "same bits": same,
        "right": same and all(ratio <= 1 for ratio in ratios.values()),
    }  # fmt: skip


def _plain(xp: Any, dtype: Any, arrays: tuple[Any, ...], mask: PositionMask) -> list[Any]:
    """Return o, dq, dk, dv by the formula."""
    q, k, v, do = (xp.astype(x, dtype) for x in arrays)
    o, saved = attention_forward(xp, q, k, v, mask=mask)
    return [xp.to_numpy(x) for x in (o, *attention_backward(xp, do, saved)[:3])]


def _ratio(got: Any, exact: Any, plain: Any, dtype: Any) -> float:
    """Return the error as a part of what it may be; infinite where something was not written."""
    if np.isnan(got).any():
        return float("inf")
    last_digit = np.abs((exact.astype(dtype) + dtype.type(0.3)) - dtype.type(0.3) - exact).max()
    allowed = 2 * np.abs(plain - exact).max() + 2 * float(last_digit)
    return float(np.abs(got - exact).max() / allowed)


def _eight_bits(machine: Machine, d: int) -> Iterator[Row]:
    """Try attention in 8 bits where there is any: it may err a tenth more than its simulation."""
    device = replace(machine.xp.device(), xp=Poisoned(machine.cp))
    if choose(device, DTYPES["float16"], d) != "wgmma":
        return
    lengths = ((2, 130), (2, 600), (2, 600))
    queries, keys, values = arrays = [
        machine.random((1, heads, n, d), "float16", i) for i, (heads, n) in enumerate(lengths)
    ]
    signs = np.float32(np.where(np.arange(d) % 3, 1, -1))
    band, rotation = Band(scale=d**-0.5), machine.xp.asarray(signs)
    o, _ = flash_forward_fp8(device, queries, keys, values, band, rotation)
    q, k, v = (machine.xp.to_numpy(x).astype(np.float64) for x in arrays)
    exact, _ = attention_forward(tinyllm_numpy, q, k, v)
    inputs = (x.astype(np.float32) for x in (q, k, v))
    simulated = fp8_attention(tinyllm_numpy, *inputs, block=128, signs=signs)
    ours, usual = (
        float(np.sqrt(np.mean((x.astype(np.float64) - exact) ** 2)))
        for x in (machine.xp.to_numpy(o), simulated)
    )
    yield {
        "kernel": "attention", "tier": "fp8", "dtype": "float16", "d": d, "T": 130, "S": 600,
        "o": ours / (1.1 * usual), "right": ours < 1.1 * usual,
    }  # fmt: skip


def _rows_added_up(machine: Machine) -> Row:
    """Sum 5,000 rows of 300 numbers by 37 indices, in the order of the rows, twice."""
    N, D, n = (50, 7, 5) if machine.dry else (5000, 300, 37)
    device = replace(machine.xp.device(), xp=Poisoned(machine.cp))
    ids, values = np.random.default_rng(0).integers(0, n, N), machine.random((N, D), "float32")
    wanted, host = np.zeros((n, D), np.float32), machine.xp.to_numpy(values)
    for i, row in zip(ids, host, strict=True):
        wanted[i] += row
    runs = [machine.xp.to_numpy(index_add(device, n, machine.xp.asarray(ids), values))
            for _ in range(2)]  # fmt: skip
    same = all(run.tobytes() == wanted.tobytes() for run in runs)
    return {"kernel": "index_add", "dtype": "float32", "same bits": same, "right": same}


def _product(machine: Machine, dtype: str) -> Row:
    """Multiply stacks of 16-bit matrices, one of which is turned in memory."""
    a, b = machine.random((3, 70, 130), dtype), machine.random((3, 50, 130), dtype, 1)
    got = machine.xp.to_numpy(machine.xp.matmul(a, machine.xp.permute_dims(b, (0, 2, 1))))
    x, y = (machine.xp.to_numpy(z).astype(np.float64) for z in (a, b))
    error = float(np.abs(got - x @ y.swapaxes(1, 2)).max())
    return {"kernel": "product", "dtype": dtype, "error": error, "right": error < 1e-3}
