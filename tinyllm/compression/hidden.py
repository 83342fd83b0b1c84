"""The hidden states of a forward pass, by number, and the way back from each into the model.

0   what the first block is given          i   what block i - 1 gives          L   the last
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.errors import UsageError
from tinyllm.layers.norms import NORMS
from tinyllm.models.architecture import Config, kind_name
from tinyllm.models.block import config_of_block
from tinyllm.models.config import StackConfig
from tinyllm.models.layouts import layout_of_block
from tinyllm.models.stack import norm_layer

NORM, FINAL = "input_layernorm", "model.norm"


@dataclass(frozen=True, slots=True)
class State:
    """A hidden state, and how its gradient becomes that of the residual stream.

    back: dx (B, T, D) -> dstream (B, T, D), the gradients of parameters on the way by name
    """

    index: int
    x: Array  # (B, T, D)
    back: Callable[[Array], tuple[Array, Params]]


def require_blocks(config: Config, whose: str) -> None:
    """Raise UsageError where a model has no blocks, and so no hidden states between them."""
    if not isinstance(config, StackConfig):
        raise UsageError(
            f"hidden states are those of blocks, and the {whose} is {kind_name(config)}: it has "
            f"none"
        )


def require_state(config: StackConfig, index: int, *, normed: bool) -> None:
    """Raise UsageError where the norm is not there that a state is read before, or after."""
    if index == config.n_layers:
        if not layout_of_block(config.layout).final_norm:
            raise UsageError(f"state {index} is not there: the model has no norm at its end")
    elif normed and NORM not in layout_of_block(config_of_block(config, index).layout).norms:
        raise UsageError(f"state {index} has no norm after it: hidden states need blocks that do")


def state(xp: Backend, saved: Saved, index: int, *, normed: bool) -> State:
    """Return a state after the norm that comes next, or as it stands in the residual stream.

    Raises UsageError as `require_state` does.
    """
    config, L = saved["config"], len(saved["layers"])
    require_state(config, index, normed=normed)
    if not normed:
        x = saved["layers"][index]["input"] if index < L else saved["norm"][0]
        return State(index, x, lambda dx: (dx, {}))
    norm = saved["norm"] if index == L else saved["layers"][index][NORM]
    name = FINAL if index == L else f"model.layers.{index}.{NORM}"

    def back(dx: Array) -> tuple[Array, Params]:
        dstream, grads = norm_layer(config).backward(xp, dx, norm)
        return dstream, {f"{name}.{part}": grad for part, grad in grads.items()}

    return State(index, NORMS[config.norm].output(xp, norm), back)


def matched_states(
    xp: Backend, saved: Saved, taught: Saved, pairs: Any, *, normed: bool
) -> Iterator[tuple[State, Array]]:
    """Yield states of a student, each with the one of its teacher that it is compared with."""
    for mine, theirs in pairs:
        yield state(xp, saved, mine, normed=normed), state(xp, taught, theirs, normed=normed).x
