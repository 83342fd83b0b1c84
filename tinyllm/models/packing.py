"""Parameters in the layout that one backend multiplies fastest: for inference, made once."""

from typing import Any

from tinyllm.backend import Backend
from tinyllm.layers.attention import QKV
from tinyllm.layers.mlp import GATE_UP
from tinyllm.layers.projection import Joined, joined_name

_TOGETHER = {"self_attn": QKV, "mlp": GATE_UP}


def pack_params(xp: Backend, p: dict[str, Any]) -> dict[str, Any]:
    """Return the parameter tree with its matrices packed, joined where they multiply the same x.

    The forward functions take it in place of `p`, which is left as it is; there is no way back from
    it to gradients.
    """
    head = p["lm_head"] if "lm_head" in p else p["model"]["embed_tokens"]
    layers = {index: _pack_layer(xp, layer) for index, layer in p["model"]["layers"].items()}
    return {"model": p["model"] | {"layers": layers}, "lm_head": _pack_projection(xp, head)}


def _pack_layer(xp: Backend, layer: dict[str, Any]) -> dict[str, Any]:
    packed = dict(layer)
    for sublayer, names in _TOGETHER.items():
        children = dict(layer[sublayer])
        joined = _join(xp, [children[name] for name in names])
        if joined is not None:
            for name in names:
                del children[name]
        packed[sublayer] = {
            name: _pack_projection(xp, child) if name.endswith("_proj") else child
            for name, child in children.items()
        }
        if joined is not None:
            packed[sublayer][joined_name(names)] = joined
    return packed


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


def _pack_projection(xp: Backend, projection: dict[str, Any]) -> dict[str, Any]:
    return projection | {"weight": xp.pack([projection["weight"]])}
