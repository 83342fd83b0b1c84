"""The launches of one block, for arguments that stay where they are."""

from typing import Any

import numpy as np

from tinyllm.decode_plan import BlockPlan, DecodePlan, Mixture, Projection, Swiglu
from tinyllm_cuda.decode_kernels import (
    attention,
    attention_blocks,
    attention_tile,
    experts,
    format_of,
    gemv,
    gemv_grid,
    qkv,
    route,
)
from tinyllm_cuda.decode_splits import choose_splits
from tinyllm_cuda.launch import Device, Kernel

Launch = tuple[Kernel, tuple[int, ...], tuple[Any, ...]]


class Room:
    """What kernels hand on to one another: the residual stream x, the token's state, and the rest.

    `state` (3,) are the token, its position, and how many tokens were drawn.
    """

    def __init__(self, device: Device, plan: DecodePlan) -> None:
        """Make room for one token of the plan's model."""
        xp, (V, D), d = device.xp, plan.embedding.shape, plan.head_dim
        F = max(_swiglus(block.mlp)[0].gate.weight.shape[0] for block in plan.blocks)
        k = max(block.mlp.k if isinstance(block.mlp, Mixture) else 1 for block in plan.blocks)
        self.x, self.q, self.o, self.h, self.logits, self.weights = (
            xp.zeros(n, dtype=np.float32)
            for n in (D, plan.n_heads * d, plan.n_heads * d, k * F, V, k)
        )
        self.none = xp.zeros(max(D, F, plan.n_heads * d), dtype=np.float32)  # no bias, no scales
        self.state, self.experts = xp.zeros(3, dtype=np.int32), xp.zeros(k, dtype=np.int32)
        self.frequencies = xp.asarray(plan.frequencies / (2 * np.pi))  # turns per position
        self.done = xp.zeros(plan.n_kv_heads, dtype=np.int32)
        most = max(_splits(device, plan, block) for block in plan.blocks)
        self.parts = xp.zeros(plan.n_heads * most * (d + 2), dtype=np.float32)

    def matrix(self, weight: Any) -> tuple[Any, Any]:
        """Return values and scales."""
        return getattr(weight, "values", weight), getattr(weight, "scales", self.none)

    def projection(self, p: Projection) -> tuple[Any, Any, Any]:
        """Return values, scales and bias."""
        return *self.matrix(p.weight), self.none if p.bias is None else p.bias


def block_launches(device: Device, plan: DecodePlan, block: BlockPlan, room: Room) -> list[Launch]:
    """Read x, and add to it what attention and the feed-forward layer make of it."""
    mlp = block.mlp
    return [
        _qkv(device, plan, block, room),
        _attention(device, plan, block, room),
        _add(device, block.o, room.o, room),
        *(
            _mixture(device, plan, block.mlp_norm, mlp, room)
            if isinstance(mlp, Mixture)
            else _swiglu(device, plan, block.mlp_norm, mlp, room)
        ),
    ]


def _qkv(device: Device, plan: DecodePlan, block: BlockPlan, room: Room) -> Launch:
    H, K, d, D = plan.n_heads, plan.n_kv_heads, plan.head_dim, room.x.shape[0]
    projections = [x for p in (block.q, block.k, block.v) for x in room.projection(p)]
    arrays = (room.frequencies, room.state, room.q, block.keys, block.values)
    numbers = (H, K, d, block.keys.shape[2], D, plan.norm_eps, float(plan.rope_scale))
    kernel = qkv(format_of(block.q.weight), D, format_of(block.keys))
    grid = gemv_grid((H + 2 * K) * (d // 2), device.multiprocessors)
    return kernel, grid, (room.x, block.norm, *projections, *arrays, *numbers)


def _attention(device: Device, plan: DecodePlan, block: BlockPlan, room: Room) -> Launch:
    arrays = (room.q, block.keys, block.values, room.state, room.parts, room.done, room.o)
    slots, grid = block.keys.shape[2], (_splits(device, plan, block), plan.n_kv_heads)
    arguments = (*arrays, slots, block.window or slots, float(plan.scale))
    return _attention_kernel(plan, block), grid, arguments


def _attention_kernel(plan: DecodePlan, block: BlockPlan) -> Kernel:
    kernel = attention(format_of(block.keys), plan.head_dim, plan.n_heads // plan.n_kv_heads)
    assert kernel is not None
    return kernel


def _splits(device: Device, plan: DecodePlan, block: BlockPlan) -> int:
    """Choose for a full cache: a shorter text uses fewer of the blocks."""
    kernel, slots = _attention_kernel(plan, block), block.keys.shape[2]
    tiles = -(-min(block.window or slots, slots) // attention_tile(kernel))
    resident = device.multiprocessors * attention_blocks(kernel, device)
    return choose_splits(tiles, plan.n_kv_heads, resident)


def _swiglu(
    device: Device, plan: DecodePlan, norm: Any, mlp: Swiglu, room: Room
) -> tuple[Launch, Launch]:
    F, D = mlp.gate.weight.shape
    gated = room.projection(mlp.gate) + room.projection(mlp.up)
    kernel = gemv("gemv_swiglu", format_of(mlp.gate.weight), D)
    arguments = (room.x, norm, *gated, room.h, F, D, plan.norm_eps)
    first = kernel, gemv_grid(F, device.multiprocessors), arguments
    return first, _add(device, mlp.down, room.h, room)


def _add(device: Device, projection: Projection, vector: Any, room: Room) -> Launch:
    n, C = projection.weight.shape
    kernel = gemv("gemv_add", format_of(projection.weight), C)
    grid = gemv_grid(-(-n // 2), device.multiprocessors)
    return kernel, grid, (*room.projection(projection), vector, room.x, n, C)


def _mixture(
    device: Device, plan: DecodePlan, norm: Any, mlp: Mixture, room: Room
) -> tuple[Launch, Launch, Launch]:
    (E, D), k, first = mlp.router.shape, mlp.k, mlp.experts[0]
    F, eps = first.gate.weight.shape[0], plan.norm_eps
    chosen = (room.experts, room.weights)
    numbers = (E, k, int(mlp.renormalise), D, eps, float(mlp.scale))
    router = (room.x, norm, *room.matrix(mlp.router), *chosen, *numbers)
    gates, ups, downs = (
        _table(device, [getattr(each, name).weight for each in mlp.experts])
        for name in ("gate", "up", "down")
    )
    swiglu = experts("experts_swiglu", format_of(first.gate.weight), D)
    add = experts("experts_add", format_of(first.down.weight), F)
    return (
        (route(format_of(mlp.router), D, E), (1,), router),
        (
            swiglu,
            (*gemv_grid(F, device.multiprocessors), k),
            (room.x, norm, gates, ups, room.experts, room.h, F, D, eps),
        ),
        (add, (-(-D // (2 * add.threads // 32)),), (downs, *chosen, room.h, room.x, k, D, F)),
    )


def _table(device: Device, weights: list[Any]) -> Any:
    """Return where each matrix lies, and its scales: (E, 2). The plan keeps them alive."""
    arrays = [(getattr(w, "values", w), getattr(w, "scales", None)) for w in weights]
    addresses = [[_address(values), _address(scales)] for values, scales in arrays]
    return device.xp.asarray(np.array(addresses, np.uint64))


def _address(x: Any) -> int:
    if x is None:
        return 0
    return int(x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr)


def _swiglus(mlp: Swiglu | Mixture) -> list[Swiglu]:
    return list(mlp.experts) if isinstance(mlp, Mixture) else [mlp]
