"""How a decoder knows where its tokens stand: a table with a row for each way.

Positions enter a decoder at one of three places, or at none:

    embedding    something is added to each token's vector          Sinusoidal, Learned
    rotation     queries and keys are turned by their positions     Rope
    bias         something is added to the scores of attention      Alibi, Relative

A config's `positions` is one of these records, or None: then only the causal mask tells tokens
apart, and attention learns to count them (Haviv et al. 2022, arXiv:2203.16634). To add a way, write
its record and a row.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Saved
from tinyllm.errors import UsageError
from tinyllm.layers.positions import (
    add_learned_backward,
    add_learned_forward,
    add_sinusoidal_backward,
    add_sinusoidal_forward,
    add_sinusoidal_halves_forward,
)
from tinyllm.models.rope import Rope, describe_rope, rope_frequencies, rotated
from tinyllm.ops.alibi import alibi_slopes, falcon_alibi_bias
from tinyllm.ops.relative_position import relative_buckets, relative_position_forward
from tinyllm.ops.rope import rope_tables


@dataclass(frozen=True, kw_only=True, slots=True)
class Sinusoidal:
    """A fixed vector for each position: see `tinyllm.ops.sinusoidal`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SinusoidalHalves:
    """The same with all sines before all cosines, as Marian's files have it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """A parameter for each of `max_seq_len` positions, and nothing beyond them.

    The table begins with `offset` rows that no position has: OPT's two are left of the numbers that
    its code kept for padding.
    """

    offset: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Alibi:
    """Scores that fall with the distance: see `tinyllm.ops.alibi`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FalconAlibi:
    """ALiBi as Falcon's code has it, in bfloat16: see `tinyllm.ops.alibi`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Relative:
    """A learned bias for each range of distances and each head: see `relative_position`."""

    n_buckets: int = 32
    max_distance: int = 128  # tokens


Positions = Rope | Sinusoidal | SinusoidalHalves | Learned | Alibi | FalconAlibi | Relative | None


def _add_nothing_forward(
    xp: Backend, x: Array, p: dict[str, Any], way: object, *, positions: Any
) -> tuple[Array, Saved]:
    return x, None


def _add_nothing_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    return dy, {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """What one way does at each of the three places; `positions` below is the config's record."""

    name: str
    # (xp, x, p, config's record, positions=) -> y, saved
    add_forward: Callable[..., tuple[Array, Saved]] = _add_nothing_forward
    add_backward: Callable[..., tuple[Array, dict[str, Any]]] = _add_nothing_backward
    # (xp, positions, queries, head_dim, dtype, cached=) -> cos, sin
    rotation: Callable[..., tuple[Array, Array] | None] = lambda *_, **__: None
    # (xp, config, queries, keys, dtype) -> (H, T, S), or (B, H, T, S)
    bias: Callable[..., Array | None] = lambda *_: None
    # (xp, config, dtype) -> (H,), by which scores fall with the distance
    slopes: Callable[..., Array | None] = lambda *_: None
    # (xp, p, config, queries, keys) -> (H, T, S) or (B, H, T, S), saved: learned, for all layers
    learned_bias: Callable[..., tuple[Array | None, Saved]] = lambda *_: (None, None)


def _rotation(
    xp: Backend, rope: Rope, queries: Any, head_dim: int, dtype: object, *, cached: bool
) -> tuple[Array, Array]:
    """The cosines and sines of the positions: (T, r), or (B, 1, T, r) where rows are padded."""
    context = int(queries.max(initial=-1)) + 1
    if rope.kind == "dynamic":
        if cached and context > rope.original_context:
            raise UsageError(
                f"this model's `dynamic` RoPE scaling changes all positions beyond "
                f"{rope.original_context} tokens, so cached keys would be wrong at {context}: "
                f"use a shorter text, or no cache"
            )
    else:
        context = 0  # no other kind looks at it, and one entry serves all
    frequencies = xp.asarray(rope_frequencies(rope, rotated(rope, head_dim), context))
    positions = queries if queries.ndim == 1 else queries[:, None, :]
    return rope_tables(xp, xp.asarray(positions), frequencies, dtype=dtype, scale=rope.scale)


def _alibi(xp: Backend, config: Any, dtype: object) -> Array:
    return xp.astype(xp.asarray(alibi_slopes(config.n_heads)), dtype)


def _falcon_alibi(xp: Backend, config: Any, queries: Any, keys: Any, dtype: object) -> Array:
    """The bias (H, 1, S), or (B, H, 1, S) where rows are padded, for it counts from their start."""
    keys = keys if keys.ndim == 1 else keys[:, None, None, :]
    bias = falcon_alibi_bias(np.maximum(keys, 0), config.n_heads) * config.head_dim**-0.5
    return xp.astype(xp.asarray(np.broadcast_to(bias, _full(bias, queries))), dtype)


def _relative(
    xp: Backend, p: dict[str, Any], config: Any, queries: Any, keys: Any
) -> tuple[Array, Saved]:
    way: Relative = config.positions
    buckets = relative_buckets(
        queries, keys, n_buckets=way.n_buckets, max_distance=way.max_distance, causal=config.causal
    )
    return relative_position_forward(xp, xp.asarray(buckets), p["weight"])


def _full(bias: Any, queries: Any) -> tuple[int, ...]:
    """The shape of a bias (..., 1, S), one row for each query."""
    return (*bias.shape[:-2], queries.shape[-1], bias.shape[-1])


def _add_learned_forward(
    xp: Backend, x: Array, p: dict[str, Any], way: Learned, *, positions: Any
) -> tuple[Array, Saved]:
    return add_learned_forward(xp, x, p, positions=positions, offset=way.offset)


def _add_sinusoidal_forward(
    xp: Backend, x: Array, p: dict[str, Any], way: Sinusoidal, *, positions: Any
) -> tuple[Array, Saved]:
    return add_sinusoidal_forward(xp, x, p, positions=positions)


def _add_sinusoidal_halves_forward(
    xp: Backend, x: Array, p: dict[str, Any], way: SinusoidalHalves, *, positions: Any
) -> tuple[Array, Saved]:
    return add_sinusoidal_halves_forward(xp, x, p, positions=positions)


_WAYS: dict[type, Way] = {
    Rope: Way(name="rope", rotation=_rotation),
    Sinusoidal: Way(
        name="sinusoidal", add_forward=_add_sinusoidal_forward, add_backward=add_sinusoidal_backward
    ),
    SinusoidalHalves: Way(
        name="sinusoidal_halves", add_forward=_add_sinusoidal_halves_forward,
        add_backward=add_sinusoidal_backward,
    ),
    Learned: Way(
        name="learned", add_forward=_add_learned_forward, add_backward=add_learned_backward
    ),
    Alibi: Way(name="alibi", slopes=_alibi),
    FalconAlibi: Way(name="falcon_alibi", bias=_falcon_alibi),
    Relative: Way(name="relative", learned_bias=_relative),
    type(None): Way(name="none"),
}  # fmt: skip


WITHOUT_NUMBERS: dict[str, Positions] = {
    _WAYS[type(positions)].name: positions
    for positions in (Sinusoidal(), Learned(), Alibi(), FalconAlibi(), None)
}


def way_of(positions: Positions) -> Way:
    """Return the row of the table."""
    return _WAYS[type(positions)]


def table_shape(config: Any) -> tuple[int, ...]:
    """Return the shape of the table that is learned of positions: () where there is none."""
    positions = config.positions
    if isinstance(positions, Learned):
        return config.max_seq_len + positions.offset, config.d_model
    if isinstance(positions, Relative):
        return positions.n_buckets, config.n_heads
    return ()


def positions_stay(positions: Positions) -> bool:
    """Say whether a token's position stays what it is when more follow, so that a cache serves."""
    return not (isinstance(positions, Rope) and positions.kind == "dynamic")


def describe_positions(positions: Positions) -> dict[str, Any]:
    """Return the name of the way and its numbers, as JSON can hold them."""
    numbers = describe_rope(positions) if isinstance(positions, Rope) else {}
    if isinstance(positions, Learned) and positions.offset:
        numbers = {"offset": positions.offset}
    if isinstance(positions, Relative):
        numbers = asdict(positions)
    return {"type": way_of(positions).name, **numbers}
