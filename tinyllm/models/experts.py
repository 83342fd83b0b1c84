"""How a model's mixtures of experts look: their sizes, their parameters, and which are idle."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tinyllm.layers.layer import Layer
from tinyllm.layers.mlp import SILU
from tinyllm.layers.moe import moe_backward, moe_forward
from tinyllm.models.block import blocks_of
from tinyllm.ops.routing import Routing

if TYPE_CHECKING:
    from tinyllm.models.config import StackConfig

Shapes = dict[str, tuple[int, ...]]
ConfigType = TypeVar("ConfigType", bound="StackConfig")


@dataclass(frozen=True, kw_only=True, slots=True)
class Experts:
    """The mixtures of a model; `d_ff` of its config is that of the blocks that have none.

    Each expert is a swiglu without biases.
    """

    n_experts: int
    d_ff: int  # of each expert
    shared_d_ff: int = 0  # of the one that every token passes; 0: there is none
    first: int = 0  # the first block with a mixture; the others before it have a swiglu
    routing: Routing


def mixture_shapes(config: "StackConfig") -> Shapes:
    """Return the shapes of a mixture's parameters, by their names within "mlp"."""
    experts = _experts(config)
    shapes: Shapes = {"gate.weight": (experts.n_experts, config.d_model)}
    for e in range(experts.n_experts):
        shapes |= _swiglu_shapes(f"experts.{e}", config.d_model, experts.d_ff)
    if experts.shared_d_ff:
        shapes |= _swiglu_shapes("shared_experts", config.d_model, experts.shared_d_ff)
    return shapes


def mixture_layer(config: "StackConfig") -> Layer:
    """Return the two functions of a mixture."""
    routing = _experts(config).routing
    return Layer(partial(moe_forward, routing=routing, activation=SILU), moe_backward)


def without_capacity(config: ConfigType) -> ConfigType:
    """Return the config of a model whose experts take every token: for whoever reads a text.

    What a capacity drops depends on the other tokens at hand, and a text that is read in parts has
    others. DeepSeek-V2, which is trained with one, drops none when it is evaluated (arXiv:
    2405.04434, section 3.1.2).
    """
    experts = config.experts
    if experts is None or experts.routing.capacity is None:
        return config
    routing = replace(experts.routing, capacity=None)
    return replace(config, experts=replace(experts, routing=routing))


def idle_parameters(config: "StackConfig") -> int:
    """Return how many parameters a token does not pass: those of the experts it is not sent to."""
    experts = config.experts
    if experts is None:
        return 0
    mixtures = sum(block.d_ff > 0 for block in blocks_of(config)[experts.first :])
    idle = experts.n_experts - experts.routing.k
    return mixtures * idle * 3 * config.d_model * experts.d_ff


def _experts(config: "StackConfig") -> Experts:
    assert config.experts is not None
    return config.experts


def _swiglu_shapes(name: str, D: int, F: int) -> Shapes:
    sides = {"gate_proj": (F, D), "up_proj": (F, D), "down_proj": (D, F)}
    return {f"{name}.{side}.weight": shape for side, shape in sides.items()}
