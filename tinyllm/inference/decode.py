"""Decode by kernels of the backend's own, where it has some: `tinyllm.backend.DecodeCompiler`.

Covered are Llama, Mistral, Mixtral, Qwen2 and what is shaped like them: pre-norm blocks, RMSNorm,
RoPE on whole heads, grouped queries, SwiGLU or mixtures of it, biases or none, sliding windows or
none, one text at a time. For all else, and on backends without such kernels, there is no
`CompiledReader`, and the portable code runs: norms of queries and keys (Qwen3), soft caps and
scaled embeddings (Gemma 2), latent attention, tables of another width (OPT-350M), shared experts
and experts in groups or of limited capacity, other positions than RoPE, RoPE that depends on the
length of the text, blocks that are not all alike, and batches.
"""

from collections.abc import Sequence
from typing import Any

from tinyllm.backend import Array, Backend
from tinyllm.decode_plan import (
    BlockPlan,
    DecodePlan,
    DecodeStep,
    Drawing,
    Mixture,
    Projection,
    Swiglu,
)
from tinyllm.inference.kv_cache import KVCache
from tinyllm.models.config import DecoderConfig
from tinyllm.models.experts import Experts
from tinyllm.models.rope import Rope, rope_frequencies, rotated

_LLAMA = {  # the fields of a config that a plan has no place for, as it takes them
    "layout": "pre", "norm": "rmsnorm", "mlp": "swiglu", "latent": None, "blocks": None,
    "qk_norm": False, "attention_softcap": None, "qkv_clip": None, "embed_dim": None,
    "embedding_scale": 1.0, "embedding_norm": False, "logit_softcap": None,
}  # fmt: skip


class CompiledReader:
    """Reads on from what a cache holds, token by token."""

    def __init__(self, step: DecodeStep, kv: KVCache) -> None:
        """`step` writes to the arrays of `kv`, whose columns are counted here."""
        self._step, self._kv = step, kv

    def logits(self, token: int) -> Array:
        """Read a token, and score every next one: -> logits (V,)."""
        position = self._advance(1)
        return self._step.logits(token, position)

    def draw(self, token: int, uniforms: Sequence[float], how: Drawing) -> list[int]:
        """Read a token, and draw those that follow; all are read but the last."""
        position = self._advance(len(uniforms))
        return self._step.draw(token, position, uniforms, how)

    def _advance(self, T: int) -> int:
        position = self._kv.length
        self._kv.require_room(position + T)
        self._kv.advance(T)
        return position


def compiled_reader(
    xp: Backend, p: dict[str, Any], config: DecoderConfig, kv: KVCache
) -> CompiledReader | None:
    """Compile what follows the columns of a cache; None where model and backend are not for it."""
    compile_decode = getattr(xp, "compile_decode", None)
    plan = None if compile_decode is None or kv.padded else decode_plan(p, config, kv)
    step = None if compile_decode is None or plan is None else compile_decode(plan)
    return None if step is None else CompiledReader(step, kv)


def decode_plan(p: dict[str, Any], config: DecoderConfig, kv: KVCache) -> DecodePlan | None:
    """Put a model's arrays in the order in which a token uses them; None if it is no Llama.

    `p` is the parameter tree, with a matrix to each projection.
    """
    rope, d = config.positions, config.head_dim
    if any(getattr(config, name) != value for name, value in _LLAMA.items()):
        return None
    if not _covers_experts(config.experts):
        return None
    if not isinstance(rope, Rope) or rope.kind == "dynamic" or rotated(rope, d) != d:
        return None
    layers = [p["model"]["layers"][str(i)] for i in range(config.n_layers)]
    if not layers or any("q_proj" not in layer["self_attn"] for layer in layers):
        return None  # joined, for another way to multiply
    blocks = [_block(layer, config, kv, i) for i, layer in enumerate(layers)]
    table = p["model"]["embed_tokens"]
    return DecodePlan(
        blocks=blocks,
        embedding=table["weight"],
        norm=p["model"]["norm"]["weight"],
        head=p.get("lm_head", table)["weight"],
        n_heads=config.n_heads,
        n_kv_heads=config.n_kv_heads,
        head_dim=d,
        norm_eps=config.norm_eps,
        scale=d**-0.5 if config.attention_scale is None else config.attention_scale,
        frequencies=rope_frequencies(rope, d, 0),
        rope_scale=rope.scale,
    )


def _covers_experts(experts: Experts | None) -> bool:
    """Say whether a plan has a place for such mixtures."""
    if experts is None:
        return True
    routing, shared = experts.routing, experts.shared_d_ff > 0
    return routing.groups_kept == routing.groups and routing.capacity is None and not shared


def _block(layer: dict[str, Any], config: DecoderConfig, kv: KVCache, index: int) -> BlockPlan:
    attention, mlp, experts = layer["self_attn"], layer["mlp"], config.experts
    q, k, v, o = (Projection(**attention[f"{name}_proj"]) for name in "qkvo")
    return BlockPlan(
        norm=layer["input_layernorm"]["weight"],
        q=q, k=k, v=v, o=o,
        mlp_norm=layer["post_attention_layernorm"]["weight"],
        mlp=_swiglu(mlp) if experts is None or index < experts.first else _mixture(mlp, experts),
        keys=kv.keys[index],
        values=kv.values[index],
        window=config.windows[index],
    )  # fmt: skip


def _swiglu(mlp: dict[str, Any]) -> Swiglu:
    gate, up, down = (Projection(**mlp[f"{name}_proj"]) for name in ("gate", "up", "down"))
    return Swiglu(gate=gate, up=up, down=down)


def _mixture(mlp: dict[str, Any], experts: Experts) -> Mixture:
    return Mixture(
        router=mlp["gate"]["weight"],
        experts=[_swiglu(mlp["experts"][str(e)]) for e in range(experts.n_experts)],
        k=experts.routing.k,
        renormalise=experts.routing.renormalise,
        scale=experts.routing.scale,
    )
