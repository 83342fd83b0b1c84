"""LLM-Pruner: take from a model the groups of units that its loss feels least.

    groups that must go together  ->  importance of each  ->  the lowest go, in every layer alike

Ma, Fang & Wang 2023, "LLM-Pruner: on the structural pruning of large language models"
(arXiv:2305.11627). The first and last layers, without which a model is lost, stay whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.compression.groups import Groups, config_of, find_groups, without_groups
from tinyllm.compression.masks import Unstructured
from tinyllm.compression.taylor import IMPORTANCES, RANDOM, Slopes, group_importance, loss_slopes
from tinyllm.errors import UsageError
from tinyllm.models.config import DecoderConfig
from tinyllm.models.positions import Sinusoidal

BLOCK, CHANNEL = "block", "channel"  # what goes: of layers, or of the residual stream
LAYER, MODEL = "layer", "model"  # among which groups the lowest go
Gone = list[tuple[Groups, list[int]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """How it is decided what goes."""

    sparsity: float  # the share of the groups of each kind
    structure: str = BLOCK
    layers: Sequence[int] | None = None  # block-wise: from which; None: see `inner_layers`
    importance: str = "element1"  # a row of `taylor.IMPORTANCES`, or RANDOM
    aggregate: str = "sum"  # a row of `taylor.AGGREGATES`
    within: str = LAYER
    seed: int = 0  # of RANDOM

    def __post_init__(self) -> None:
        Unstructured(sparsity=self.sparsity)  # which checks it


def inner_layers(n_layers: int) -> range:
    """Return all but the first eighth and the last sixteenth: of 32, the paper leaves 4 and 2."""
    return range(-(-n_layers // 8), n_layers - -(-n_layers // 16))


def prune_groups(
    xp: Backend,
    params: Params,
    config: DecoderConfig,
    choice: Choice,
    tokens: Any = None,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Gone, Params, DecoderConfig]:
    """Return what goes, the parameters without it, and their config: tokens (B, T).

    Raises UsageError where nothing would be left of a layer, for layers that there are not, and for
    an importance that needs a text where there is none.
    """
    kinds = kinds_to_prune(config, choice)
    report("measuring what the loss feels")
    slopes = _slopes(xp, params, config, choice, tokens)
    rng = np.random.default_rng(choice.seed)
    weights = [
        rng.random(len(groups))
        if choice.importance == RANDOM
        else group_importance(xp, params, slopes, groups, choice.importance, choice.aggregate)
        for groups in kinds
    ]
    gone = list(zip(kinds, _chosen(kinds, weights, choice), strict=True))
    smaller = without_groups(xp, params, gone)
    return gone, smaller, config_of(smaller, config)


def kinds_to_prune(config: DecoderConfig, choice: Choice) -> list[Groups]:
    """Return the kinds of groups that a choice is between. Raises UsageError if there are none."""
    kinds = find_groups(config)
    if choice.structure == CHANNEL:
        if isinstance(config.positions, Sinusoidal):
            raise UsageError("sinusoidal positions are of all channels: none of them can go")
        return [groups for groups in kinds if groups.block is None]
    layers = inner_layers(config.n_layers) if choice.layers is None else choice.layers
    if not layers or not set(layers) <= set(range(config.n_layers)):
        wanted = f"layers up to {max(layers)} are" if layers else "no layer is"
        raise UsageError(
            f"{wanted} to be pruned, and the model has {config.n_layers}, 0 to "
            f"{config.n_layers - 1}: name some of these"
        )
    return [groups for groups in kinds if groups.block in layers]


def _slopes(
    xp: Backend, params: Params, config: DecoderConfig, choice: Choice, tokens: Any
) -> Slopes | None:
    if choice.importance == RANDOM or not IMPORTANCES[choice.importance].slopes:
        return None
    if tokens is None:
        raise UsageError(f"importance {choice.importance} needs a calibration text")
    return loss_slopes(xp, params, config, tokens, fisher=IMPORTANCES[choice.importance].fisher)


def _chosen(kinds: Sequence[Groups], weights: Sequence[Any], choice: Choice) -> list[list[int]]:
    """Return which groups of each kind go."""
    if choice.within == LAYER:
        return [lowest_groups([w], choice.sparsity)[0] for w in weights]
    chosen: list[list[int]] = [[] for _ in kinds]
    sorts = [groups.where.rpartition(".")[2] for groups in kinds]
    for sort in set(sorts):
        rivals = [i for i, other in enumerate(sorts) if other == sort]
        found = lowest_groups([weights[i] for i in rivals], choice.sparsity)
        for i, which in zip(rivals, found, strict=True):
            chosen[i] = which
    return chosen


def lowest_groups(weights: Sequence[Any], sparsity: float) -> list[list[int]]:
    """Return which groups of each kind go, of kinds that compete: the lowest, but the best stays.

    weights (n,), one for each kind

    Raises UsageError where the best of one kind would have to go.
    """
    total = sum(map(len, weights))
    count = Unstructured(sparsity=sparsity).group((1, total))[1]
    if count > total - len(weights):
        raise UsageError(f"a sparsity of {sparsity:g} would leave nothing of a layer: use a lower")
    held = [np.where(np.arange(len(w)) == np.argmax(w), np.inf, w) for w in weights]
    lowest = np.argsort(np.concatenate(held), kind="stable")[:count]
    starts = np.cumsum([0, *map(len, weights)])
    return [
        sorted((lowest[(start <= lowest) & (lowest < end)] - start).tolist())
        for start, end in pairwise(starts)
    ]
