"""Attention beside PyTorch's: flash, cuDNN, memory-efficient and flex, on the same arrays.

A multiplication and an addition count 2: 4 B H T S d forward, half of it where the mask is causal,
and 2.5 times as many backward, as in the papers of FlashAttention; kernels that make the scores
twice do more, and it does not count.
"""

from collections.abc import Callable, Iterator
from typing import Any

from tinyllm_cuda.attention import FAR, Band, flash_backward, flash_forward
from tinyllm_cuda.tiers import choose
from tools.gpu.machine import DTYPES, Machine
from tools.gpu.results import Results, Row

TOKENS, HIDDEN = 16384, 2048  # of a batch, and of all heads: the sizes of FlashAttention-3's paper
SHAPES = [  # d, causal, length: what matters most comes first
    (128, True, 8192), (128, False, 8192), (64, True, 4096), (128, True, 2048), (64, True, 8192),
    (64, False, 8192), (128, True, 512), (64, True, 512), (128, True, 16384), (128, False, 16384),
    (128, False, 2048), (64, False, 2048), (64, True, 16384), (128, False, 512),
]  # fmt: skip
FLEX = 1  # of the first shapes: it compiles for half a minute each
PEERS = {"flash": "FLASH_ATTENTION", "cudnn": "CUDNN_ATTENTION", "efficient": "EFFICIENT_ATTENTION"}


def attention(machine: Machine, results: Results) -> Iterator[Row]:
    """Time forward and backward for each shape in bfloat16, and in float32 for some."""
    shapes = [(16, True, 64)] if machine.dry else SHAPES
    for i, (d, causal, n) in enumerate(shapes):
        flex = i < FLEX and not machine.dry and results.left() > 240
        yield from _shape(machine, results, "bfloat16", d, causal, n, flex=flex)
        if n in (64, 2048):
            yield from _shape(machine, results, "float32", d, causal, n, flex=False)


def _shape(
    machine: Machine, results: Results, dtype: str, d: int, causal: bool, n: int, *, flex: bool
) -> Iterator[Row]:
    tier = choose(machine.xp.device(), DTYPES[dtype], d)
    if tier is None:
        yield {"dtype": dtype, "d": d, "failed": "no kernel takes these on this device"}
        return
    B, H = (1, 1) if machine.dry else (max(1, TOKENS // n), HIDDEN // d)
    arrays = [machine.random((B, H, n, d), dtype, seed) for seed in range(4)]
    flops = 4 * B * H * n * n * d / (2 if causal else 1)
    sides = [_ours(machine, arrays, causal)]
    if machine.torch is not None:
        sides += _theirs(machine, arrays, causal, flex=flex)
    for way, which, count in (("forward", 0, flops), ("backward", 1, 2.5 * flops)):
        found = machine.race({name: pair[which] for side in sides for name, pair in side.items()})
        ceiling = results.ceilings.get(f"{dtype} FLOP/s")
        row: Row = {"way": way, "dtype": dtype, "d": d, "causal": causal, "B": B, "H": H, "T": n}
        row["tier"] = tier
        row |= rates(found, count, ceiling)
        yield row


def rates(found: dict[str, Any], count: float, ceiling: float | None) -> Row:
    """Return ours, each peer's, our ratio to each, and to what the machine can do."""
    rate = {who: count / x["seconds"] / 1e12 for who, x in found.items() if "seconds" in x}
    row: Row = {"TFLOP/s": rate.get("ours")}
    for who, value in rate.items():
        if who != "ours":
            row[f"{who} TFLOP/s"] = value
            row[f"ours / {who}"] = rate["ours"] / value if "ours" in rate else None
    if ceiling and "ours" in rate:
        row["of the ceiling"] = rate["ours"] * 1e12 / ceiling
    row |= {"ms": 1e3 * found["ours"]["seconds"], "spread": found["ours"]["spread"]} if (
        "seconds" in found["ours"]
    ) else {}  # fmt: skip
    said = {who: x["failed"] for who, x in found.items() if "failed" in x}
    if said:
        row["failed"] = "; ".join(f"{who}: {text}" for who, text in said.items())
    return row


def _ours(machine: Machine, arrays: list[Any], causal: bool) -> dict[str, Any]:
    q, k, v, do = arrays
    device, scale = machine.xp.device(), q.shape[-1] ** -0.5
    band = Band(scale=scale, least=0 if causal else -FAR)
    o, lse = flash_forward(device, q, k, v, band)
    return {"ours": (
        lambda: flash_forward(device, q, k, v, band),
        lambda: flash_backward(device, do, q, k, v, o, lse, band),
    )}  # fmt: skip


def _theirs(
    machine: Machine, arrays: list[Any], causal: bool, *, flex: bool
) -> list[dict[str, Any]]:
    torch = machine.torch
    q, k, v, do = (machine.to_torch(x).requires_grad_(i < 3) for i, x in enumerate(arrays))
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def pair(forward: Callable[[], Any]) -> tuple[Callable[[], Any], Callable[[], Any]]:
        kept: list[Any] = []

        def backward() -> Any:
            if not kept:
                kept.append(forward())
            return torch.autograd.grad(kept[0], (q, k, v), do, retain_graph=True)

        return lambda: forward().detach(), backward

    def chosen(backend: str) -> Callable[[], Any]:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        def forward() -> Any:
            with sdpa_kernel(getattr(SDPBackend, backend)):
                return sdpa(q, k, v, is_causal=causal)

        return forward

    sides = {f"torch: {name}": pair(chosen(backend)) for name, backend in PEERS.items()}
    if flex:
        sides["torch: flex"] = pair(_flex(machine, q, k, v, causal))
    return [sides]


def _flex(machine: Machine, q: Any, k: Any, v: Any, causal: bool) -> Callable[[], Any]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    n, compiled = q.shape[2], machine.torch.compile(flex_attention)
    visible = create_block_mask(
        lambda b, h, i, j: i >= j, None, None, n, n, device=machine.place
    ) if causal else None  # fmt: skip
    return lambda: compiled(q, k, v, block_mask=visible)
