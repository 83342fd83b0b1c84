"""The feed-forward sublayers."""

from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.projection import (
    projection_backward,
    projection_forward,
    projections_backward,
    projections_forward,
)
from tinyllm.ops.activations import silu_backward, silu_forward

GATE_UP = ("gate_proj", "up_proj")


def swiglu_forward(xp: Backend, x: Array, p: dict[str, Any]) -> tuple[Array, Saved]:
    """Let one projection gate another: y = (silu(x W_gateᵀ) ⊙ x W_upᵀ) W_downᵀ.

    x (..., D) -> y (..., D)

    Shazeer 2020, "GLU Variants Improve Transformer" (arXiv:2002.05202), eq. 6. Uses gate_proj
    (F, D), up_proj (F, D) and down_proj (D, F), each with a bias where the checkpoint has one.
    """
    s: dict[str, Saved] = {}
    (gate, up), s["gate_up"] = projections_forward(xp, x, p, GATE_UP)  # (..., F) each
    act, s["silu"] = silu_forward(xp, gate)
    s["product"] = act, up
    y, s["down_proj"] = projection_forward(xp, act * up, p["down_proj"])
    return y, s


def swiglu_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dact = dh ⊙ up and dup = dh ⊙ act, dh being the gradient of their product."""
    act, up = saved["product"]
    grads = {}
    dh, grads["down_proj"] = projection_backward(xp, dy, saved["down_proj"])
    dgate = silu_backward(xp, dh * up, saved["silu"])
    dx, projections = projections_backward(xp, [dgate, dh * act], saved["gate_up"])
    return dx, grads | projections
