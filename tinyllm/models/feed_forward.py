"""The feed-forward sublayers that a config can name: a table with a row for each.

To add one, write its two functions in `tinyllm.layers`, and a row that says what parameters they
use. A config's `mlp` is the name of a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tinyllm.layers.layer import Layer
from tinyllm.layers.mlp import (
    GELU,
    GELU_BLOOM,
    GELU_TANH,
    RELU,
    SILU,
    Activation,
    gated_mlp_backward,
    gated_mlp_forward,
    mlp_backward,
    mlp_forward,
)
from tinyllm.models.experts import mixture_layer, mixture_shapes

if TYPE_CHECKING:
    from tinyllm.models.config import StackConfig

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedForward:
    """One row."""

    layer: "Callable[[StackConfig], Layer]"  # its functions, with the config's numbers bound
    shapes: "Callable[[StackConfig], Shapes]"  # of its parameters, by their names within "mlp"


def linear_shapes(name: str, outputs: int, inputs: int, bias: bool) -> Shapes:
    """Return the shapes of a projection's parameters."""
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def _plain_shapes(config: "StackConfig") -> Shapes:
    D, F, bias = config.d_model, config.d_ff, config.mlp_bias
    return linear_shapes("up_proj", F, D, bias) | linear_shapes("down_proj", D, F, bias)


def gated_shapes(config: "StackConfig") -> Shapes:
    """Return the shapes of the three projections, of which one gates another."""
    D, F, bias = config.d_model, config.d_ff, config.mlp_bias
    return linear_shapes("gate_proj", F, D, bias) | _plain_shapes(config)


def _plain(activation: Activation) -> FeedForward:
    layer = Layer(partial(mlp_forward, activation=activation), mlp_backward)
    return FeedForward(layer=lambda config: layer, shapes=_plain_shapes)


def _gated(activation: Activation) -> FeedForward:
    layer = Layer(partial(gated_mlp_forward, activation=activation), gated_mlp_backward)
    return FeedForward(layer=lambda config: layer, shapes=gated_shapes)


FEED_FORWARDS = {
    "swiglu": _gated(SILU),
    "geglu": _gated(GELU),
    "geglu_tanh": _gated(GELU_TANH),
    "relu": _plain(RELU),
    "silu": _plain(SILU),
    "gelu": _plain(GELU),
    "gelu_tanh": _plain(GELU_TANH),
    "gelu_bloom": _plain(GELU_BLOOM),
}
MIXTURE = FeedForward(layer=mixture_layer, shapes=mixture_shapes)


def feed_forward_of(config: "StackConfig", index: int) -> FeedForward:
    """Return the row of block `index`."""
    if config.experts is not None and index >= config.experts.first:
        return MIXTURE
    return FEED_FORWARDS[config.mlp]
