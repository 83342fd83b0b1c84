"""The activations of a forward pass, by name: read out of what it saved for its backward pass.

embed_tokens                            tokens, and what positions add  (B, T, D)
layers.3.input                          the residual stream before      (B, T, D)
layers.3.input_layernorm                what attention is given         (B, T, D)
layers.3.self_attn.q .k .v              heads, q and k after rotation   (B, H or K, T, d)
layers.3.self_attn.probs                who attends to whom             (B, H, T, T)
layers.3.self_attn.heads                what the heads read, joined     (B, T, H d)
layers.3.self_attn                      what attention adds             (B, T, D)
layers.3.middle                         the residual stream between     (B, T, D)
layers.3.post_attention_layernorm       what the mlp is given           (B, T, D)
layers.3.mlp.hidden                     silu(gate) ⊙ up                 (B, T, F)
layers.3.mlp                            what the mlp adds               (B, T, D)
layers.3                                the residual stream after       (B, T, D)
norm                                    what the head is given          (B, T, D)
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.errors import UsageError
from tinyllm.ops.attention import attention_forward
from tinyllm.ops.linear import linear_forward

Read = Callable[[Backend, Saved], Array]

# A linear map saves its arguments, so its input is the first of these, and its output one call.
_IN_BLOCK: dict[str, Read] = {
    ".input": lambda xp, s: s["input_layernorm"][0],
    ".input_layernorm": lambda xp, s: s["self_attn"]["qkv"]["q_proj"][0],
    ".self_attn.q": lambda xp, s: s["self_attn"]["attended"][0][0],
    ".self_attn.k": lambda xp, s: s["self_attn"]["attended"][0][1],
    ".self_attn.v": lambda xp, s: s["self_attn"]["attended"][0][2],
    ".self_attn.probs": lambda xp, s: _probs(xp, *s["self_attn"]["attended"]),
    ".self_attn.heads": lambda xp, s: s["self_attn"]["o_proj"][0],
    ".self_attn": lambda xp, s: linear_forward(xp, *s["self_attn"]["o_proj"])[0],
    ".middle": lambda xp, s: s["post_attention_layernorm"][0],
    ".post_attention_layernorm": lambda xp, s: s["mlp"]["gate_up"]["gate_proj"][0],
    ".mlp.hidden": lambda xp, s: s["mlp"]["down_proj"][0],
    ".mlp": lambda xp, s: linear_forward(xp, *s["mlp"]["down_proj"])[0],
}


def _probs(xp: Backend, arrays: tuple[Array, ...], options: dict[str, Any]) -> Array:
    """Compute the probabilities again, by the formula: a faster attention keeps none."""
    return attention_forward(xp, *arrays, **options)[1][-1]


def trace_names(n_layers: int) -> list[str]:
    """Return every name there is, in the order of the computation."""
    blocks = [[f"layers.{i}{end}" for end in (*_IN_BLOCK, "")] for i in range(n_layers)]
    return ["embed_tokens", *(name for block in blocks for name in block), "norm"]


def traced(xp: Backend, saved: Saved, names: Sequence[str]) -> dict[str, Array]:
    """Return the activations of these names. Raises UsageError for one that does not exist."""
    check_names(names, trace_names(len(saved["layers"])), __name__)
    return {name: _read(xp, saved, name) for name in names}


def check_names(names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raise UsageError for a name that is not known; `where` is the module that lists them."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"there is no activation {name!r}{hint} {where} has all")


def _read(xp: Backend, saved: Saved, name: str) -> Array:
    layers: list[Any] = saved["layers"]
    residual = [s["input_layernorm"][0] for s in layers] + [saved["norm"][0]]
    if name == "embed_tokens":
        return residual[0]
    if name == "norm":
        return saved["head"][0]
    index, _, end = name.removeprefix("layers.").partition(".")
    return _IN_BLOCK["." + end](xp, layers[int(index)]) if end else residual[int(index) + 1]
