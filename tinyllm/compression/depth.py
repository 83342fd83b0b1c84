"""Fewer layers: which blocks a model can do without, the model without them, or linear in them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Params
from tinyllm.compression.linearity import (
    LinearMap,
    adjusted,
    block_influence,
    fit_linear_map,
    linearity_score,
    require_tokens,
)
from tinyllm.compression.streaming import after_block, embedded, require_decoder, scored
from tinyllm.errors import UsageError
from tinyllm.models.block import Block, blocks_of, with_blocks
from tinyllm.models.config import DecoderConfig
from tinyllm.models.layouts import LINEAR

Maps = Mapping[int, LinearMap]


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockFacts:
    """What one block does to the residual stream of a text."""

    linearity: float  # of x -> y, what goes in and comes out
    without_residual: float  # of x -> y - x, what the block adds
    adjusted: float  # the first, without what chance explains
    influence: float


def residual_streams(
    xp: Backend, p: dict[str, Any], config: DecoderConfig, tokens: Any, maps: Maps | None = None
) -> Iterator[Array]:
    """Yield what goes into the first block, then what comes out of each: x (B, T, D).

    tokens (B, T)

    `p` is the parameter tree. A block that `maps` has is not run: its linear map is.
    """
    maps = {} if maps is None else maps
    x = embedded(xp, xp.asarray(tokens), p, require_decoder(config))
    yield x
    for i in range(config.n_layers):
        x = next_stream(xp, x, p, config, i, maps.get(i))
        yield x


def next_stream(
    xp: Backend,
    x: Array,
    p: dict[str, Any],
    config: DecoderConfig,
    index: int,
    linear: LinearMap | None = None,
) -> Array:
    """Run a block, or the linear map in its place: x (B, T, D) -> y (B, T, D)."""
    if linear is None:
        return after_block(xp, x, p["model"]["layers"][str(index)], config, index)
    return xp.asarray(linear(np.asarray(xp.to_numpy(x))), dtype=x.dtype)


def logits_with(
    xp: Backend, tokens: Any, p: dict[str, Any], config: DecoderConfig, maps: Maps
) -> Array:
    """Score every next token with linear maps in the place of some blocks.

    tokens (B, T) -> logits (B, T, V)
    """
    *_, x = residual_streams(xp, p, config, tokens, maps)
    return scored(xp, x, p, config)


def block_facts(
    xp: Backend, p: dict[str, Any], config: DecoderConfig, tokens: Any
) -> list[BlockFacts]:
    """Measure every block on a text: tokens (B, T). Raises UsageError for too few tokens."""
    require_tokens(int(np.size(tokens)), config.d_model)
    facts, before = [], None
    for stream in residual_streams(xp, p, config, tokens):
        after = _host(xp, stream)
        if before is not None:
            facts.append(_facts(xp, before, after))
        before = after
    return facts


def _facts(xp: Backend, x: Any, y: Any) -> BlockFacts:
    score, added = xp.parallel_map(lambda end: linearity_score(x, end), [y, y - x])
    return BlockFacts(
        linearity=score,
        without_residual=added,
        adjusted=adjusted(score, *x.shape),
        influence=block_influence(x, y),
    )


def least_needed(facts: Sequence[BlockFacts], by: str, count: int) -> list[int]:
    """Return `count` blocks, in the order of the model: the most linear, or of least influence."""
    if not 0 <= count < len(facts):
        raise UsageError(f"{count} layers to remove, and the model has {len(facts)}: one must stay")
    key = {"linearity": lambda i: -facts[i].linearity, "influence": lambda i: facts[i].influence}
    return sorted(sorted(range(len(facts)), key=key[by])[:count])


def remove_layers(
    params: Params, config: DecoderConfig, layers: Sequence[int]
) -> tuple[Params, DecoderConfig]:
    """Return the model without these blocks: those that stay are numbered anew.

    Raises UsageError for a block that there is not, or where none would stay.
    """
    gone = set(layers)
    if not gone <= set(range(config.n_layers)) or len(gone) == config.n_layers:
        raise UsageError(
            f"layers {sorted(gone)} cannot be removed from a model that has {config.n_layers}, 0 "
            f"to {config.n_layers - 1}, of which one must stay"
        )
    stay = [i for i in range(config.n_layers) if i not in gone]
    renamed = {}
    for name, x in params.items():
        found = re.match(r"model\.layers\.([0-9]+)(\..*)", name)
        if found is None:
            renamed[name] = x
        elif int(found[1]) in stay:
            renamed[f"model.layers.{stay.index(int(found[1]))}{found[2]}"] = x
    config = replace(config, n_layers=len(stay), windows=tuple(config.windows[i] for i in stay))
    blocks, experts = config.blocks, config.experts
    if blocks is not None:
        config = with_blocks(config, [blocks[i] for i in stay])
    if experts is not None:  # those of the first blocks that have none may be gone
        experts = replace(experts, first=sum(i < experts.first for i in stay))
    return renamed, replace(config, experts=experts)


def replace_layers(
    params: Params, config: DecoderConfig, maps: Maps
) -> tuple[Params, DecoderConfig]:
    """Return the model with linear maps in the place of blocks, all arrays on the host.

    A map is kept as y = x Wᵀ + b, W = Aᵀ and b = mean_y - mean_x A, in the dtype of the block.
    """
    new, blocks = dict(params), list(blocks_of(config))
    for i, linear in maps.items():
        prefix = f"model.layers.{i}."
        dtype, *_ = (new.pop(name).dtype for name in params if name.startswith(prefix))
        bias = linear.mean_y - linear.mean_x @ linear.matrix
        new[f"{prefix}linear.weight"] = linear.matrix.T.astype(dtype)
        new[f"{prefix}linear.bias"] = bias.astype(dtype)
        blocks[i] = Block(layout=LINEAR)
    return new, with_blocks(config, blocks)


def fit_maps_to_dense(
    xp: Backend, p: dict[str, Any], config: DecoderConfig, tokens: Any, layers: Sequence[int]
) -> dict[int, LinearMap]:
    """Fit a linear map to each of these blocks, all by what goes through the dense model.

    tokens (B, T)
    """
    ends, before = {}, None
    for i, stream in enumerate(residual_streams(xp, p, config, tokens), -1):
        after = _host(xp, stream)
        if i in layers:
            ends[i] = before, after
        before = after
    maps = xp.parallel_map(lambda i: fit_linear_map(*ends[i]), list(ends))
    return dict(zip(ends, maps, strict=True))


def fit_maps_in_order(
    xp: Backend, p: dict[str, Any], config: DecoderConfig, tokens: Any, layers: Sequence[int]
) -> dict[int, LinearMap]:
    """Fit a linear map to each of these blocks, after those before it have been replaced.

    tokens (B, T)

    Each maps what it is given now to what came out of its block in the dense model: the layer-wise
    distillation of Razzhigaev et al. 2024 (arXiv:2405.12250), one block after the other, at its
    optimum, which least squares give.
    """
    maps: dict[int, LinearMap] = {}
    dense = residual_streams(xp, p, config, tokens)
    x = next(dense)
    for i, target in enumerate(dense):
        if i in layers:
            maps[i] = fit_linear_map(_host(xp, x), _host(xp, target))
        x = next_stream(xp, x, p, config, i, maps.get(i))
    return maps


def _host(xp: Backend, x: Array) -> Any:
    """Return the stream as rows in float64: x (B, T, D) -> y (N, D)."""
    return np.asarray(xp.to_numpy(x), np.float64).reshape(-1, x.shape[-1])
