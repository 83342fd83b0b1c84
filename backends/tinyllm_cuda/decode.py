"""One token of a Llama by 5 L + 2 kernels, which on a GPU are one CUDA graph.

    decode_qkv          norm, queries, keys, values, biases, RoPE, the new column of the cache
    decode_attention    split over the keys, query heads that share a key head together
    gemv_add            W_o, and the residual
    gemv_swiglu         norm, gate, up, SwiGLU
    gemv_add            W_down, and the residual
    …
    gemv_head           norm, a score for each token
    sampler_draw        the next token, its embedding, and its position

Where a block has a mixture of experts, the fourth and fifth are experts_route, experts_swiglu and
experts_add. The token and its position are on the device, so a graph can be replayed without the
host's knowing of either. Weights are read where they lie: none is packed anew.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyllm.decode_plan import DecodePlan, Drawing, Mixture, Projection
from tinyllm_cuda.decode_block import Launch, Room, block_launches
from tinyllm_cuda.decode_kernels import (
    FORMATS,
    KV_FORMATS,
    attention,
    format_of,
    gemv,
    gemv_grid,
    route,
    sampler,
)
from tinyllm_cuda.launch import Device, launch
from tinyllm_cuda.replay import Replay

MOST_DRAWN = 256  # tokens, from one look of the host to the next


def compile_decode(device: Device, plan: DecodePlan) -> "Step | None":
    """Make a step that gives what the portable code gives, in float32 from weights of any format.

    Covered are matrices in float32, bfloat16, float16, int8 and int4, alike where they multiply the
    same vector, and in all experts of a mixture, which have no biases; norms and biases in float32;
    caches in float32, bfloat16 and float16 of one text; head sizes and numbers of heads to a key
    head for which `decode_kernels.attention` has a kernel; vectors that the shared memory of a
    block has room for. None for others.
    """
    return Step(device, plan) if _covered(device, plan) else None


def _covered(device: Device, plan: DecodePlan) -> bool:
    kv_format, alike = format_of(plan.blocks[0].keys), [[plan.embedding], [plan.head]]
    vectors, kernels = [plan.norm], []
    for block in plan.blocks:
        if any(format_of(x) != kv_format or x.shape[0] != 1 for x in (block.keys, block.values)):
            return False
        sets: list[list[Projection]] = [[block.q, block.k, block.v], [block.o]]
        mlp = block.mlp
        if isinstance(mlp, Mixture):
            sets += [[p for each in mlp.experts for p in (each.gate, each.up)]]
            sets += [[each.down for each in mlp.experts]]
            if (
                any(p.bias is not None for p in sets[2] + sets[3])
                or format_of(mlp.router) not in FORMATS
            ):
                return False
            kernels.append(route(format_of(mlp.router), mlp.router.shape[1], len(mlp.experts)))
        else:
            sets += [[mlp.gate, mlp.up], [mlp.down]]
        alike += [[p.weight for p in projections] for projections in sets]
        biases = [p.bias for projections in sets for p in projections if p.bias is not None]
        vectors += [block.norm, block.mlp_norm, *biases]
    formats = [{format_of(x) for x in matrices} for matrices in alike]
    if any(len(each) > 1 or not each <= set(FORMATS) for each in formats):
        return False
    if kv_format not in KV_FORMATS or any(x.dtype != np.float32 for x in vectors):
        return False
    heads = attention(kv_format, plan.head_dim, plan.n_heads // plan.n_kv_heads)
    kernels += [gemv("gemv_add", format_of(x[0]), x[0].shape[1]) for x in alike]
    return heads is not None and all(
        kernel.shared_memory <= device.shared_memory for kernel in (heads, *kernels)
    )


class Step:
    """A plan as launches whose arguments are fixed (see `tinyllm.decode_plan.DecodeStep`)."""

    def __init__(self, device: Device, plan: DecodePlan) -> None:
        """Make room for all that passes between kernels."""
        xp, (V, D) = device.xp, plan.embedding.shape
        self._device, self._plan = device, plan
        self._room = room = Room(device, plan)
        self._options = xp.zeros(4, dtype=np.float64)
        self._uniforms = xp.zeros(MOST_DRAWN, dtype=np.float64)
        self._tokens, self._ids = (xp.zeros(n, dtype=np.int32) for n in (MOST_DRAWN, V))
        embed = sampler("sampler_embed", format_of(plan.embedding))
        first: Launch = embed, (1,), (*room.matrix(plan.embedding), room.state, room.x, D)
        blocks = (block_launches(device, plan, block, room) for block in plan.blocks)
        self._forward = [*(each for block in blocks for each in block), self._head()]
        self._score = Replay(device, lambda: self._run([first, *self._forward]))
        self._embed = Replay(device, lambda: self._run([first]))
        self._draw: dict[int, Replay] = {}  # by the size of the vocabulary

    def logits(self, token: int, position: int, /) -> Any:
        """Score every next token: -> logits (V,)."""
        self._write(self._room.state, [token, position, 0])
        self._score()
        return self._room.logits.copy()

    def draw(
        self, token: int, position: int, uniforms: Sequence[float], how: Drawing, /
    ) -> list[int]:
        """Draw a token for each of the numbers, with one wait for MOST_DRAWN of them."""
        tokens: list[int] = []
        self._write(self._options, [how.temperature, how.top_k, how.top_p, how.min_p])
        for start in range(0, len(uniforms), MOST_DRAWN):
            part = uniforms[start : start + MOST_DRAWN]
            self._write(self._room.state, [tokens[-1] if tokens else token, position + start, 0])
            self._write(self._uniforms[: len(part)], part)
            self._embed()
            step = self._drawing(how.vocab_size)
            for _ in part:
                step()
            tokens += _to_host(self._tokens)[: len(part)].tolist()
            if tokens[-1] < 0:
                return tokens + [-1] * (len(uniforms) - len(tokens))
        return tokens

    def _drawing(self, vocab_size: int) -> Replay:
        """Return the graph of a token: all blocks, the head, the sampler."""
        if vocab_size not in self._draw:
            room, table = self._room, self._plan.embedding
            drawn = (room.logits, self._uniforms, self._options, self._ids)
            embedded = (*room.matrix(table), self._tokens, room.state, room.x)
            kernel = sampler("sampler_draw", format_of(table))
            last: Launch = kernel, (1,), (*drawn, *embedded, vocab_size, table.shape[1])
            self._draw[vocab_size] = Replay(self._device, lambda: self._run([*self._forward, last]))
        return self._draw[vocab_size]

    def _head(self) -> Launch:
        plan, room, (V, D) = self._plan, self._room, self._plan.head.shape
        arguments = (room.x, plan.norm, *room.matrix(plan.head), room.logits, V, D, plan.norm_eps)
        grid = gemv_grid(-(-V // 2), self._device.multiprocessors)
        return gemv("gemv_head", format_of(plan.head), D), grid, arguments

    def _run(self, launches: Sequence[Launch]) -> None:
        for kernel, grid, arguments in launches:
            launch(self._device, kernel, grid, arguments)

    def _write(self, to: Any, numbers: Sequence[float]) -> None:
        to[...] = self._device.xp.asarray(np.asarray(numbers, to.dtype))


def _to_host(x: Any) -> Any:
    """Copy from the device, after all that it was told to do."""
    return x.get() if hasattr(x, "get") else np.asarray(x)
