"""The activations of a forward pass, by name: read out of what it saved for its backward pass.

embed_tokens                            tokens, and what positions add  (B, T, D)
layers.3.input                          the residual stream before      (B, T, D)
layers.3.self_attn.q .k .v              heads, q and k after rotation   (B, H or K, T, d)
layers.3.self_attn.probs                who attends to whom             (B, H, T, T)
layers.3.self_attn.heads                what the heads read, joined     (B, T, H d)
layers.3.self_attn                      what attention gives            (B, T, D)
layers.3.middle                         the residual stream between     (B, T, D)
layers.3.mlp.up                         before a plain mlp's bend       (B, T, F)
layers.3.mlp.hidden                     after it; or act(gate) ⊙ up     (B, T, F)
layers.3.mlp                            what the mlp gives              (B, T, D)
layers.3.mlp.scores                     of the experts, if there are    (B T, E)
layers.3.mlp.experts                    the chosen, the best first      (B T, k)
layers.3                                the residual stream after       (B, T, D)
norm                                    what the head is given          (B, T, D)

and what each norm gives, by its name in the block: layers.3.input_layernorm, for one. Names that a
model's layout has no use for are not there: a parallel block has no middle.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.errors import UsageError
from tinyllm.layers.norms import NORMS
from tinyllm.models.layouts import LAYOUTS
from tinyllm.ops.attention import attention_forward
from tinyllm.ops.linear import linear_forward

Read = Callable[[Backend, Saved], Array]
ALL_NORMS = frozenset(name for layout in LAYOUTS.values() for name in layout.norms)

# A linear map saves its arguments, so its input is the first of these, and its output one call.
# With each reader, where in what the block saved it reads.
_IN_BLOCK: dict[str, tuple[tuple[str, ...], Read]] = {
    ".input": (("input",), lambda xp, s: s),
    ".self_attn.q": (("self_attn", "attended"), lambda xp, s: s[0][0]),
    ".self_attn.k": (("self_attn", "attended"), lambda xp, s: s[0][1]),
    ".self_attn.v": (("self_attn", "attended"), lambda xp, s: s[0][2]),
    ".self_attn.probs": (("self_attn", "attended"), lambda xp, s: _probs(xp, *s)),
    ".self_attn.heads": (("self_attn", "o_proj"), lambda xp, s: s[0]),
    ".self_attn": (("self_attn", "o_proj"), lambda xp, s: linear_forward(xp, *s)[0]),
    ".middle": (("middle",), lambda xp, s: s),
    ".mlp.up": (("mlp", "up_proj"), lambda xp, s: linear_forward(xp, *s)[0]),
    ".mlp.hidden": (("mlp", "down_proj"), lambda xp, s: s[0]),
    ".mlp": (("mlp", "down_proj"), lambda xp, s: linear_forward(xp, *s)[0]),
    ".mlp.scores": (("mlp", "scores"), lambda xp, s: s),
    ".mlp.experts": (("mlp", "ids"), lambda xp, s: s),
}


def _probs(xp: Backend, arrays: tuple[Array, ...], options: dict[str, Any]) -> Array:
    """Compute the probabilities again, by the formula: a faster attention keeps none."""
    return attention_forward(xp, *arrays, **options)[1][-1]


def trace_names(saved: Saved) -> list[str]:
    """Return every name that there is in what a forward pass saved, block by block."""
    names = ["embed_tokens"]
    for i, layer in enumerate(saved["layers"]):
        known = [end for end, (path, _) in _IN_BLOCK.items() if _at(layer, path) is not None]
        norms = [f".{name}" for name in layer if name in ALL_NORMS]
        names += [f"layers.{i}{end}" for end in (*known, *norms, "")]
    return [*names, "norm"]


def traced(xp: Backend, saved: Saved, names: Sequence[str]) -> dict[str, Array]:
    """Return the activations of these names. Raises UsageError for one that does not exist."""
    check_names(names, trace_names(saved), __name__)
    return {name: _read(xp, saved, name) for name in names}


def check_names(names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raise UsageError for a name that is not known; `where` is the module that lists them."""
    if isinstance(names, str):
        raise UsageError(f"the names are {names!r}, expected several: [{names!r}]")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"there is no activation {name!r}; {hint}{where} has all")


def _read(xp: Backend, saved: Saved, name: str) -> Array:
    layers: list[Any] = saved["layers"]
    last = saved["hidden"] if saved["norm"] is None else saved["norm"][0]
    residual = [s["input"] for s in layers] + [last]
    if name == "embed_tokens":
        return residual[0]
    if name == "norm":
        return saved["hidden"]
    index, _, end = name.removeprefix("layers.").partition(".")
    if not end:
        return residual[int(index) + 1]
    if end in ALL_NORMS:
        return NORMS[saved["config"].norm].output(xp, layers[int(index)][end])
    path, read = _IN_BLOCK["." + end]
    return read(xp, _at(layers[int(index)], path))


def _at(saved: Saved, path: Sequence[str]) -> Saved:
    """Return what lies at the end of a path of keys; None where it ends before."""
    for key in path:
        saved = saved.get(key)
        if saved is None:
            return None
    return saved
