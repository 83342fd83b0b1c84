"""The norms as layers: a table by name, with the parameters that each has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.norms import (
    layernorm_backward,
    layernorm_forward,
    rmsnorm_backward,
    rmsnorm_forward,
)


def rms_layer_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, eps: float
) -> tuple[Array, Saved]:
    """Give each vector a root mean square of 1: y = g ⊙ x / rms(x).

    x (..., D) -> y (..., D)

    Uses weight (D,), the gain g. See `tinyllm.ops.norms`.
    """
    return rmsnorm_forward(xp, x, p["weight"], eps=eps)


def rms_layer_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx and dweight are those of RMSNorm."""
    dx, dweight = rmsnorm_backward(xp, dy, saved)
    return dx, {"weight": dweight}


def rms_plus_one_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, eps: float
) -> tuple[Array, Saved]:
    """Do the same with a gain that is stored as its distance from 1: y = (1 + w) ⊙ x / rms(x).

    x (..., D) -> y (..., D)

    Weight decay then pulls the gain to 1 (Gemma Team 2024, arXiv:2403.08295, whose code has it).
    Uses weight (D,).
    """
    return rmsnorm_forward(xp, x, 1.0 + p["weight"], eps=eps)


def layer_norm_layer_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, eps: float
) -> tuple[Array, Saved]:
    """Give each vector mean 0 and variance 1: y = g ⊙ x̂ + b.

    x (..., D) -> y (..., D)

    Uses weight (D,), and bias (D,) if there is one. See `tinyllm.ops.norms`.
    """
    return layernorm_forward(xp, x, **p, eps=eps)


def layer_norm_layer_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx, dweight and dbias are those of LayerNorm."""
    dx, dweight, dbias = layernorm_backward(xp, dy, saved)
    return dx, {"weight": dweight} if dbias is None else {"weight": dweight, "bias": dbias}


def rms_output(xp: Backend, saved: Saved) -> Array:
    """Return what RMSNorm gave, from what it saved: y (..., D)."""
    x, rstd, weight = saved
    return x * rstd * weight


def layer_norm_output(xp: Backend, saved: Saved) -> Array:
    """Return what LayerNorm gave, from what it saved: y (..., D)."""
    x, mean, rstd, weight, bias = saved
    y = (x - mean) * rstd * weight
    return y if bias is None else y + bias


@dataclass(frozen=True, kw_only=True, slots=True)
class Norm:
    """One row: the two functions, and which parameters the first uses, each (D,)."""

    forward: Callable[..., tuple[Array, Saved]]  # (xp, x, p, eps=) -> y, saved
    backward: Callable[..., tuple[Array, dict[str, Any]]]
    output: Callable[[Backend, Saved], Array]  # y again
    parameters: tuple[str, ...] = ("weight",)
    neutral: float = 1.0  # the weight with which it does nothing but normalise


NORMS = {
    "rmsnorm": Norm(forward=rms_layer_forward, backward=rms_layer_backward, output=rms_output),
    "rmsnorm_plus_one": Norm(
        forward=rms_plus_one_forward, backward=rms_layer_backward, output=rms_output, neutral=0.0
    ),
    "layernorm": Norm(
        forward=layer_norm_layer_forward,
        backward=layer_norm_layer_backward,
        output=layer_norm_output,
        parameters=("weight", "bias"),
    ),
    "layernorm_without_bias": Norm(
        forward=layer_norm_layer_forward,
        backward=layer_norm_layer_backward,
        output=layer_norm_output,
    ),
}
