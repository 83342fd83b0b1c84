"""A linear map with its own weight and, where the checkpoint has one, its own bias."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.adapted import LORA, adapted_backward, adapted_forward
from tinyllm.ops.linear import linear_backward, linear_forward


def projection_forward(xp: Backend, x: Array, p: dict[str, Any]) -> tuple[Array, Saved]:
    """Map the last axis linearly: y = x Wᵀ + b.

    x (..., C) -> y (..., D)

    Uses weight (D, C), and bias (D,) if there is one. With lora, see `adapted`.
    """
    if LORA in p:
        y, saved = adapted_forward(xp, x, p)
        return y, {LORA: saved}
    return linear_forward(xp, x, **p)


def projection_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dy W,  dW = Σ dyᵀ x,  db = Σ dy."""
    if isinstance(saved, dict):
        return adapted_backward(xp, dy, saved[LORA])
    dx, dweight, dbias = linear_backward(xp, dy, saved)
    return dx, {"weight": dweight} if dbias is None else {"weight": dweight, "bias": dbias}


@dataclass(frozen=True, slots=True)
class Joined:
    """Projections of the same x that were packed into one product, for inference only.

    `weight` is what the backend's `pack` returned, `sizes` how many features each gives.
    """

    weight: Any
    bias: Array | None
    sizes: tuple[int, ...]


def joined_name(names: Sequence[str]) -> str:
    """Return under which name a layer's parameters hold its `Joined` projections."""
    return "+".join(names)


def projections_forward(
    xp: Backend, x: Array, p: dict[str, Any], names: Sequence[str]
) -> tuple[list[Array], Saved]:
    """Apply several projections to one x: y_i = x W_iᵀ + b_i, in one product where `p` has it so.

    x (..., C) -> y_i (..., D_i), for each name
    """
    joined = p.get(joined_name(names))
    if joined is None:
        pairs = {name: projection_forward(xp, x, p[name]) for name in names}
        return [y for y, _ in pairs.values()], {name: s for name, (_, s) in pairs.items()}
    y, _ = linear_forward(xp, x, joined.weight, joined.bias)
    parts, start = [], 0
    for size in joined.sizes:
        parts.append(y[..., start : start + size])
        start += size
    return parts, None


def projections_backward(
    xp: Backend, dys: Sequence[Array], saved: Saved
) -> tuple[Array, dict[str, Any]]:
    """dx = Σ dy_i W_i, and each one's dW and db by its name."""
    dx, grads = None, {}
    for dy, (name, s) in zip(dys, saved.items(), strict=True):
        part, grads[name] = projection_backward(xp, dy, s)
        dx = part if dx is None else dx + part
    return dx, grads
