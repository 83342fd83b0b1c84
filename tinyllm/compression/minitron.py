"""Minitron: narrower and shallower by what the activations say, to be trained again afterwards.

    activity of every unit, once  ->  the least active go  ->  slices of the same weights

Muralidharan et al. 2024 (arXiv:2407.14679), section 2; Sreenivas et al. 2024 (arXiv:2408.11796).
Heads and neurons compete within their block, channels within the whole model. Where key/value heads
serve several query heads, these compete within their group, so that each keeps as many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.compression.activations import AGGREGATES, Activity, activity
from tinyllm.compression.depth import remove_layers
from tinyllm.compression.groups import Groups, config_of, find_groups, without_groups
from tinyllm.compression.heads import best, best_heads, merged_heads, query_heads
from tinyllm.compression.layer_costs import PERPLEXITY, BlockCost, block_costs, cheapest
from tinyllm.compression.llm_pruner import Gone
from tinyllm.errors import UsageError
from tinyllm.models.block import config_of_block
from tinyllm.models.config import DecoderConfig

BEST = "l2-mean"  # over texts, over the tokens of each


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is to be left of each; None: all of it."""

    ffn: int | None = None  # neurons of a feed-forward layer
    heads: int | None = None  # query heads of a layer
    width: int | None = None  # channels of the residual stream
    layers: int | None = None  # blocks
    drop: tuple[int, ...] = ()  # or which of them go

    @property
    def narrower(self) -> bool:
        """Whether anything but depth is to change."""
        return (self.ffn, self.heads, self.width) != (None,) * 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """What goes from a model, and the parameters that change before it does."""

    gone: Gone
    removed: list[int]  # blocks, by the numbers that they had
    costs: list[BlockCost]  # of every block, where it was measured
    merged: Params


def minitron(
    xp: Backend,
    params: Params,
    config: DecoderConfig,
    target: Target,
    tokens: Any = None,
    *,
    batch: str = "l2",
    seq: str = "mean",
    depth_by: str = PERPLEXITY,
    merge: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Cut:
    """Decide by a calibration text what goes, all by the dense model: tokens (B, T).

    Raises UsageError for a target that the model has not, and where a text is needed.
    """
    removed, costs = list(target.drop), []
    if target.layers is not None:
        if not 1 <= target.layers <= config.n_layers:
            raise UsageError(
                f"--layers is {target.layers}, expected 1 to {config.n_layers}: there are so many"
            )
        if target.layers < config.n_layers:
            report("measuring what each block is worth")
            costs = block_costs(xp, params, config, _given(tokens))
            removed = cheapest(costs, depth_by, config.n_layers - target.layers)
    remove_layers(params, config, removed)  # which checks them
    gone: Gone = []
    if target.narrower:
        report("measuring how active each unit is")
        found = activity(xp, params, config, _given(tokens), batch=batch, seq=seq)
        gone, merged = what_goes(xp, params, config, target, found, merge=merge)
        return Cut(gone=gone, removed=removed, costs=costs, merged=merged)
    return Cut(gone=gone, removed=removed, costs=costs, merged={})


def cut_out(
    xp: Backend, params: Params, config: DecoderConfig, cut: Cut
) -> tuple[Params, DecoderConfig]:
    """Return what is left: parameters and their config."""
    smaller = without_groups(xp, params | cut.merged, cut.gone)
    return remove_layers(smaller, config_of(smaller, config), cut.removed)


def _given(tokens: Any) -> Any:
    if tokens is None:
        raise UsageError("minitron needs a calibration text to tell what matters")
    return tokens


def read_aggregates(name: str) -> tuple[str, str]:
    """Return batch and seq of a name like "l2-mean". Raises UsageError for another."""
    batch, _, seq = name.partition("-")
    if batch not in AGGREGATES or seq not in AGGREGATES:
        raise UsageError(
            f"importance is {name!r}, expected BATCH-SEQ, each one of {', '.join(AGGREGATES)}, "
            f"like {BEST}"
        )
    return batch, seq


def what_goes(
    xp: Backend,
    params: Params,
    config: DecoderConfig,
    target: Target,
    found: Activity,
    *,
    merge: bool = False,
) -> tuple[Gone, Params]:
    """Return the least active units of each kind, and the parameters that change before they go.

    With `merge`, heads that stay get what sets them apart from heads that go: see `merged_heads`.
    Raises UsageError for a width that the model has not.
    """
    gone: Gone = []
    merged: Params = {}
    for groups in find_groups(config):
        i, part = groups.block, groups.where.rpartition(".")[2]
        if target.width is not None and _is_stream(groups, len(found.channels)):
            stay = best(found.channels, target.width, "--width", "channels")
            gone.append((groups, _others(stay, len(groups))))
        elif part == "mlp" and i is not None and target.ffn is not None:
            stay = best(found.neurons[i], target.ffn, "--ffn", f"neurons in block {i}")
            gone.append((groups, _others(stay, len(groups))))
        elif part == "self_attn" and i is not None and target.heads is not None:
            own = config_of_block(config, i)
            heads = query_heads(groups, own)
            stay = best_heads(found.heads[i], own, target.heads, i)
            if merge:
                merged |= merged_heads(xp, params, heads, found.heads[i], stay, own)
            gone.append((heads, _others(stay, own.n_heads)))
    _all_there(gone, target, config)
    return gone, merged


def _is_stream(groups: Groups, channels: int) -> bool:
    """Whether these are the channels that norms tell of; a table may be of another width."""
    normed = any("norm" in name for name, _ in groups.members)
    return groups.block is None and normed and len(groups) == channels


def _all_there(gone: Gone, target: Target, config: DecoderConfig) -> None:
    """Raise UsageError where what is to become narrower is not there to be narrowed."""
    wheres = {groups.where.rpartition(".")[2] for groups, _ in gone}
    for part, kind, wanted in (
        ("mlp", "neurons", target.ffn),
        ("self_attn", "heads", target.heads),
        ("model", "channels", target.width),
    ):
        if wanted is not None and part not in wheres:
            raise UsageError(
                f"the {kind} of this {config.family} cannot go: where they stand matters to "
                f"positions, or to what other parts there are"
            )


def _others(stay: Sequence[int], n: int) -> list[int]:
    return np.setdiff1d(np.arange(n), stay).tolist()
