"""How much a model would lose with a group of its parameters, by a Taylor series of its loss.

    L(0) - L(w) = -gᵀw + ½ wᵀHw + …,    g = ∂L/∂w,  H ≈ diag(F),  F = mean over samples of g²

At a minimum of the loss g would be 0; the calibration text is not what the model was trained on, so
the first term is there. Ma, Fang & Wang 2023, "LLM-Pruner" (arXiv:2305.11627), section 3.2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.compression.groups import Groups
from tinyllm.errors import CheckpointError, UsageError
from tinyllm.models.config import DecoderConfig
from tinyllm.params import nest
from tinyllm.training.gradients import batch_gradients, gradients_at_once


@dataclass(frozen=True, kw_only=True, slots=True)
class Slopes:
    """Of a text's mean loss in nats: the gradient, and the mean of each sample's own, squared."""

    gradient: Params
    fisher: Params


def loss_slopes(
    xp: Backend, params: Params, config: DecoderConfig, tokens: Any, *, fisher: bool
) -> Slopes:
    """Go through a calibration text, back and forth: tokens (B, T).

    The diagonal of Fisher's matrix takes a backward pass for each sample, and is empty unless it is
    asked for. Raises UsageError for samples in which there is nothing to predict.
    """
    if tokens.shape[1] < 2:
        raise UsageError("samples of one token have no next one: seqlen must be at least 2")
    p, given, targets = nest(params), tokens[:, :-1], tokens[:, 1:]
    if not fisher:
        found = batch_gradients(xp, config, p, given, targets)
        return Slopes(gradient={n: g / found.count for n, g in found.grads.items()}, fisher={})
    B, T = given.shape

    def part(samples: range) -> tuple[Params, Params]:
        total: Params = {}
        squares: Params = {}
        for i in samples:
            rows = slice(i, i + 1)
            grads = gradients_at_once(xp, config, p, given[rows], targets[rows]).grads
            for name, summed in grads.items():
                g = summed / T
                total[name] = total[name] + g if name in total else g
                squares[name] = squares[name] + g * g if name in squares else g * g
        return total, squares

    halves = xp.parallel_map(part, [range(0, B, 2), range(1, B, 2)][:B])
    gradient, squares = (
        {name: sum((half[name] for half in kind[1:]), kind[0][name]) / B for name in params}
        for kind in zip(*halves, strict=True)
    )
    return Slopes(gradient=gradient, fisher=squares)


Weigh = Callable[[Any, Any, Any, int], Any]  # w, g, F, axis -> what each index of it loses


def _each(weigh: Callable[[Any, Any, Any], Any]) -> Weigh:
    """Weigh weight by weight, and add up."""
    return lambda w, g, fisher, axis: _rest(np.abs(weigh(w, g, fisher)), axis)


def _rest(x: Any, axis: int) -> Any:
    """Sum over all axes but one."""
    return np.sum(x, axis=tuple(i for i in range(x.ndim) if i != axis))


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """One way to weigh what goes with an index of a parameter, in nats where it is by the loss."""

    weigh: Weigh
    slopes: bool = True
    fisher: bool = False


IMPORTANCES = {
    "vector": Importance(weigh=lambda w, g, fisher, axis: np.abs(_rest(w * g, axis))),
    "element1": Importance(weigh=_each(lambda w, g, fisher: w * g)),
    "element2": Importance(weigh=_each(lambda w, g, fisher: w * w * fisher), fisher=True),
    "mix": Importance(weigh=_each(lambda w, g, fisher: w * g - 0.5 * w * w * fisher), fisher=True),
    "l1": Importance(weigh=_each(lambda w, g, fisher: w), slopes=False),
    "l2": Importance(weigh=_each(lambda w, g, fisher: w * w), slopes=False),
}
RANDOM = "random"
AGGREGATES: dict[str, Callable[[Any], Any]] = {  # of the parameters that a group has a part of
    "sum": lambda parts: np.sum(parts, axis=0),
    "product": lambda parts: np.sum(np.log(parts), axis=0),  # its logarithm: there are many
    "max": lambda parts: np.max(parts, axis=0),
    "last": lambda parts: parts[-1],  # what the group writes with
}


def group_importance(
    xp: Backend, params: Params, slopes: Slopes | None, groups: Groups, how: str, aggregate: str
) -> Any:
    """Weigh groups of one kind: -> importance (n,), on the host in float64.

    A group's part in each parameter is the sum over its rows there, or columns; `aggregate` makes
    one number of the parts. Raises CheckpointError where the model's loss is no number.
    """
    weigh = IMPORTANCES[how].weigh
    parts = []
    for (name, axis), indices in groups.members.items():
        sources = (params, *((slopes.gradient, slopes.fisher) if slopes is not None else ({}, {})))
        w, g, fisher = (
            np.asarray(xp.to_numpy(of[name]), np.float64) if name in of else None for of in sources
        )
        parts.append(np.sum(weigh(w, g, fisher, axis)[indices], axis=1))
    if not np.isfinite(parts).all():
        raise CheckpointError(f"{groups.where}: its weights or their gradients are not finite")
    with np.errstate(divide="ignore"):  # the logarithm of nothing
        return AGGREGATES[aggregate](np.array(parts))
