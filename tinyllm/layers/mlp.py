"""The feed-forward sublayers: plain or gated, with any activation."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.projection import (
    projection_backward,
    projection_forward,
    projections_backward,
    projections_forward,
)
from tinyllm.ops.activations import (
    gelu_backward,
    gelu_forward,
    gelu_tanh_backward,
    gelu_tanh_forward,
    relu_backward,
    relu_forward,
    silu_backward,
    silu_forward,
)

GATE_UP = ("gate_proj", "up_proj")


class Activation(NamedTuple):
    """A nonlinearity and its gradient: see `tinyllm.ops.activations`."""

    forward: Callable[..., tuple[Array, Saved]]
    backward: Callable[..., Array]


RELU = Activation(relu_forward, relu_backward)
GELU = Activation(gelu_forward, gelu_backward)
GELU_TANH = Activation(gelu_tanh_forward, gelu_tanh_backward)
GELU_BLOOM = Activation(partial(gelu_tanh_forward, slope=0.79788456), gelu_tanh_backward)
SILU = Activation(silu_forward, silu_backward)


def mlp_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, activation: Activation
) -> tuple[Array, Saved]:
    """Widen, bend, and narrow: y = act(x W_upᵀ) W_downᵀ.

    x (..., D) -> y (..., D)

    Vaswani et al. 2017 (arXiv:1706.03762), eq. 2. Uses up_proj (F, D) and down_proj (D, F), each
    with a bias where the checkpoint has one.
    """
    s: dict[str, Saved] = {"activation": activation}
    up, s["up_proj"] = projection_forward(xp, x, p["up_proj"])  # (..., F)
    act, s["act"] = activation.forward(xp, up)
    y, s["down_proj"] = projection_forward(xp, act, p["down_proj"])
    return y, s


def mlp_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dup = dact ⊙ act'(up), between two linear maps."""
    grads = {}
    dact, grads["down_proj"] = projection_backward(xp, dy, saved["down_proj"])
    dup = saved["activation"].backward(xp, dact, saved["act"])
    dx, grads["up_proj"] = projection_backward(xp, dup, saved["up_proj"])
    return dx, grads


def gated_mlp_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, activation: Activation
) -> tuple[Array, Saved]:
    """Let one projection gate another: y = (act(x W_gateᵀ) ⊙ x W_upᵀ) W_downᵀ.

    x (..., D) -> y (..., D)

    Shazeer 2020, "GLU Variants Improve Transformer" (arXiv:2002.05202), eq. 6: SwiGLU with SiLU,
    GeGLU with GELU. Uses gate_proj (F, D), up_proj (F, D) and down_proj (D, F), each with a bias
    where the checkpoint has one.
    """
    s: dict[str, Saved] = {"activation": activation}
    (gate, up), s["gate_up"] = projections_forward(xp, x, p, GATE_UP)  # (..., F) each
    act, s["act"] = activation.forward(xp, gate)
    s["product"] = act, up
    y, s["down_proj"] = projection_forward(xp, act * up, p["down_proj"])
    return y, s


def gated_mlp_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dact = dh ⊙ up and dup = dh ⊙ act, dh being the gradient of their product."""
    act, up = saved["product"]
    grads = {}
    dh, grads["down_proj"] = projection_backward(xp, dy, saved["down_proj"])
    dgate = saved["activation"].backward(xp, dh * up, saved["act"])
    dx, projections = projections_backward(xp, [dgate, dh * act], saved["gate_up"])
    return dx, grads | projections
