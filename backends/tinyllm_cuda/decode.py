"""One token of a Llama by 5 L + 2 kernels, which on a GPU are one CUDA graph.

    decode_qkv          norm, queries, keys, values, biases, RoPE, the new column of the cache
    decode_attention    split over the keys, query heads that share a key head together
    gemv_add            W_o, and the residual
    gemv_swiglu         norm, gate, up, SwiGLU
    gemv_add            W_down, and the residual
    …
    gemv_head           norm, a score for each token
    sampler_draw        the next token, its embedding, and its position

The token and its position are on the device, so a graph can be replayed without the host's knowing
of either. Weights are read where they lie: none is packed anew.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyllm.decode_plan import BlockPlan, DecodePlan, Drawing, Projection
from tinyllm_cuda.decode_kernels import (
    FORMATS,
    KV_FORMATS,
    attention,
    attention_blocks,
    attention_tile,
    format_of,
    gemv,
    gemv_grid,
    qkv,
    sampler,
)
from tinyllm_cuda.decode_splits import choose_splits
from tinyllm_cuda.launch import Device, Kernel, launch
from tinyllm_cuda.replay import Replay

MOST_DRAWN = 256  # tokens, from one look of the host to the next
Launch = tuple[Kernel, tuple[int, ...], tuple[Any, ...]]


def compile_decode(device: Device, plan: DecodePlan) -> "Step | None":
    """Make a step that gives what the portable code gives, in float32 from weights of any format.

    Covered are matrices in float32, bfloat16, float16, int8 and int4, alike where they multiply the
    same vector, beside norms and biases in float32; caches in float32, bfloat16 and float16 of one
    text; even head sizes with up to 80 numbers of queries to a thread (G d / 32: 8 heads of 256 to
    a key head, 16 of 128); vectors that the shared memory of a block has room for. None for others.
    """
    return Step(device, plan) if _covered(device, plan) else None


def _covered(device: Device, plan: DecodePlan) -> bool:
    group, kv_format = plan.n_heads // plan.n_kv_heads, format_of(plan.blocks[0].keys)
    matrices = [plan.embedding, plan.head]
    vectors = [plan.norm]
    for block in plan.blocks:
        sets = ((block.q, block.k, block.v), (block.o,), (block.gate, block.up), (block.down,))
        if any(len({format_of(p.weight) for p in projections}) > 1 for projections in sets):
            return False
        if any(format_of(x) != kv_format or x.shape[0] != 1 for x in (block.keys, block.values)):
            return False
        projections = [p for each in sets for p in each]
        matrices += [p.weight for p in projections]
        vectors += [block.norm, block.mlp_norm]
        vectors += [p.bias for p in projections if p.bias is not None]
    if any(format_of(x) not in FORMATS for x in matrices) or kv_format not in KV_FORMATS:
        return False
    heads = attention(kv_format, plan.head_dim, group)
    kernels = [heads, *(gemv("gemv_add", format_of(x), x.shape[1]) for x in matrices)]
    fits = all(k is not None and k.shared_memory <= device.shared_memory for k in kernels)
    return fits and all(x.dtype == np.float32 for x in vectors)


class Step:
    """A plan as launches whose arguments are fixed (see `tinyllm.decode_plan.DecodeStep`)."""

    def __init__(self, device: Device, plan: DecodePlan) -> None:
        """Make room for all that passes between kernels."""
        self._device, xp = device, device.xp
        V, D = plan.embedding.shape
        d, F = plan.head_dim, max(block.gate.weight.shape[0] for block in plan.blocks)
        self._x, self._q, self._o, self._h, self._logits = (
            xp.zeros(n, dtype=np.float32) for n in (D, plan.n_heads * d, plan.n_heads * d, F, V)
        )
        self._none = xp.zeros(max(D, F, plan.n_heads * d), dtype=np.float32)  # no bias, no scales
        self._state, self._options = xp.zeros(3, dtype=np.int32), xp.zeros(4, dtype=np.float64)
        self._uniforms = xp.zeros(MOST_DRAWN, dtype=np.float64)
        self._tokens, self._ids = (xp.zeros(n, dtype=np.int32) for n in (MOST_DRAWN, V))
        self._done = xp.zeros(plan.n_kv_heads, dtype=np.int32)
        self._plan, self._frequencies = plan, xp.asarray(plan.frequencies / (2 * np.pi))
        self._attention = self._attention_launcher()
        embed = sampler("sampler_embed", format_of(plan.embedding))
        table = self._matrix(plan.embedding)
        first = (embed, (1,), (*table, self._state, self._x, D))
        self._forward = [one for block in plan.blocks for one in self._block(block)]
        self._forward.append(self._head())
        self._score = Replay(device, lambda: self._run([first, *self._forward]))
        self._embed = Replay(device, lambda: self._run([first]))
        self._draw: dict[int, Replay] = {}  # by the size of the vocabulary

    def logits(self, token: int, position: int, /) -> Any:
        """Score every next token: -> logits (V,)."""
        self._place(token, position)
        self._score()
        return self._logits.copy()

    def draw(
        self, token: int, position: int, uniforms: Sequence[float], how: Drawing, /
    ) -> list[int]:
        """Draw a token for each of the numbers, with one wait for MOST_DRAWN of them."""
        tokens: list[int] = []
        self._write(self._options, [how.temperature, how.top_k, how.top_p, how.min_p])
        for start in range(0, len(uniforms), MOST_DRAWN):
            part = uniforms[start : start + MOST_DRAWN]
            self._place(tokens[-1] if tokens else token, position + start)
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
            table, D = self._plan.embedding, self._plan.embedding.shape[1]
            last: Launch = (
                sampler("sampler_draw", format_of(table)),
                (1,),
                (
                    self._logits, self._uniforms, self._options, self._ids, *self._matrix(table),
                    self._tokens, self._state, self._x, vocab_size, D,
                ),
            )  # fmt: skip
            self._draw[vocab_size] = Replay(self._device, lambda: self._run([*self._forward, last]))
        return self._draw[vocab_size]

    def _block(self, block: BlockPlan) -> list[Launch]:
        plan, D = self._plan, self._x.shape[0]
        F, eps, format = block.gate.weight.shape[0], plan.norm_eps, format_of(block.gate.weight)
        gated = self._projection(block.gate) + self._projection(block.up)
        swiglu = (self._x, block.mlp_norm, *gated, self._h, F, D, eps)
        return [
            self._qkv(block),
            self._attention(block),
            self._add(block.o, self._o),
            (gemv("gemv_swiglu", format, D), self._grid(F), swiglu),
            self._add(block.down, self._h),
        ]

    def _qkv(self, block: BlockPlan) -> Launch:
        plan, D = self._plan, self._x.shape[0]
        H, K, d, room = plan.n_heads, plan.n_kv_heads, plan.head_dim, block.keys.shape[2]
        kernel = qkv(format_of(block.q.weight), D, format_of(block.keys))
        projections = [x for p in (block.q, block.k, block.v) for x in self._projection(p)]
        arrays = (self._frequencies, self._state, self._q, block.keys, block.values)
        numbers = (H, K, d, room, D, plan.norm_eps, float(plan.rope_scale))
        arguments = (self._x, block.norm, *projections, *arrays, *numbers)
        return kernel, self._grid((H + 2 * K) * (d // 2)), arguments

    def _attention_launcher(self) -> Callable[[BlockPlan], Launch]:
        """Choose the splits, and make room for what the splits of a head find."""
        plan, room = self._plan, self._plan.blocks[0].keys.shape[2]
        group = plan.n_heads // plan.n_kv_heads
        kernel = attention(format_of(plan.blocks[0].keys), plan.head_dim, group)
        assert kernel is not None
        resident = self._device.multiprocessors * attention_blocks(kernel, self._device)

        def splits(window: int) -> int:
            tiles = -(-min(window, room) // attention_tile(kernel))
            return choose_splits(tiles, plan.n_kv_heads, resident)

        windows = [room if block.window is None else block.window for block in plan.blocks]
        numbers = plan.n_heads * max(map(splits, windows)) * (plan.head_dim + 2)
        parts = self._device.xp.zeros(numbers, dtype=np.float32)

        def prepared(block: BlockPlan) -> Launch:
            window = block.window or room
            arrays = (self._q, block.keys, block.values, self._state, parts, self._done, self._o)
            return kernel, (splits(window), plan.n_kv_heads), (*arrays, room, window, plan.scale)

        return prepared

    def _add(self, projection: Projection, vector: Any) -> Launch:
        n, C = projection.weight.shape
        kernel = gemv("gemv_add", format_of(projection.weight), C)
        arguments = (*self._projection(projection), vector, self._x, n, C)
        return kernel, self._grid(-(-n // 2)), arguments

    def _head(self) -> Launch:
        plan, (V, D) = self._plan, self._plan.head.shape
        kernel = gemv("gemv_head", format_of(plan.head), D)
        matrix = self._matrix(plan.head)
        arguments = (self._x, plan.norm, *matrix, self._logits, V, D, plan.norm_eps)
        return kernel, self._grid(-(-V // 2)), arguments

    def _grid(self, tasks: int) -> tuple[int]:
        return gemv_grid(tasks, self._device.multiprocessors)

    def _projection(self, p: Projection) -> tuple[Any, Any, Any]:
        """Return values, scales and bias."""
        return *self._matrix(p.weight), self._none if p.bias is None else p.bias

    def _matrix(self, weight: Any) -> tuple[Any, Any]:
        """Return values and scales."""
        return getattr(weight, "values", weight), getattr(weight, "scales", self._none)

    def _run(self, launches: Sequence[Launch]) -> None:
        for kernel, grid, arguments in launches:
            launch(self._device, kernel, grid, arguments)

    def _place(self, token: int, position: int) -> None:
        self._write(self._state, [token, position, 0])

    def _write(self, to: Any, numbers: Sequence[float]) -> None:
        to[...] = self._device.xp.asarray(np.asarray(numbers, to.dtype))


def _to_host(x: Any) -> Any:
    """Copy from the device, after all that it was told to do."""
    return x.get() if hasattr(x, "get") else np.asarray(x)
