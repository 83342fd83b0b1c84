"""Parameters in the layout that one backend multiplies fastest: for inference, made once."""

from typing import Any

from tinyllm.backend import Backend
from tinyllm.layers.attention import QKV
from tinyllm.layers.mlp import GATE_UP
from tinyllm.layers.projection import Joined, joined_name

_TOGETHER = (QKV, GATE_UP)  # what multiplies the same x
_AS_IT_IS = ("kv_b_proj",)  # latent attention multiplies by parts of it


def pack_params(xp: Backend, p: dict[str, Any]) -> dict[str, Any]:
    """Return the parameter tree with its matrices packed, joined where they multiply the same x.

    The forward functions take it in place of `p`, which is left as it is; there is no way back from
    it to gradients.
    """
    head = p["lm_head"] if "lm_head" in p else p["model"]["embed_tokens"]
    layers = {index: _pack(xp, layer) for index, layer in p["model"]["layers"].items()}
    return {"model": p["model"] | {"layers": layers}, "lm_head": _pack(xp, head)}


def _pack(xp: Backend, branch: dict[str, Any]) -> dict[str, Any]:
    """Pack a branch of the tree: a projection, or a layer that has some in it."""
    if "weight" in branch:
        weight = branch["weight"]
        return branch | {"weight": xp.pack([weight])} if weight.ndim == 2 else branch
    packed: dict[str, Any] = {}
    rest = dict(branch)
    for names in _TOGETHER:
        if all(name in branch for name in names):
            joined = _join(xp, [branch[name] for name in names])
            if joined is not None:
                packed[joined_name(names)] = joined
                for name in names:
                    del rest[name]
    left = {name: rest.pop(name) for name in _AS_IT_IS if name in rest}
    return {name: _pack(xp, child) for name, child in rest.items()} | packed | left


def _join(xp: Backend, projections: list[dict[str, Any]]) -> Joined | None:
    """Make one product of several; None where the backend, or a bias that some lack, is against."""
    biases = [p["bias"] for p in projections if "bias" in p]
    if biases and len(biases) < len(projections):
        return None
    weight = xp.pack([p["weight"] for p in projections])
    if weight is None:
        return None
    bias = xp.concat(biases) if biases else None
    return Joined(weight, bias, tuple(p["weight"].shape[0] for p in projections))
