"""How a model's rotary positions are scaled, as its config describes it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyllm.ops.rope_scaling import (
    default_frequencies,
    dynamic_frequencies,
    linear_frequencies,
    llama3_frequencies,
    yarn_frequencies,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rope:
    """The kind of scaling and its numbers; see `tinyllm.ops.rope_scaling` for who uses which."""

    theta: float
    kind: str = "default"
    factor: float = 1.0
    original_context: int = 0  # tokens
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    scale: float = 1.0  # of cos and sin
    fraction: float = 1.0  # of each head's features that are turned, the first ones


_KINDS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "default": (default_frequencies, ()),
    "linear": (linear_frequencies, ("factor",)),
    "dynamic": (dynamic_frequencies, ("factor", "original_context")),
    "llama3": (
        llama3_frequencies,
        ("factor", "low_freq_factor", "high_freq_factor", "original_context"),
    ),
    "yarn": (
        yarn_frequencies,
        ("factor", "original_context", "beta_fast", "beta_slow", "truncate"),
    ),
}


def rope_numbers(rope: Rope) -> dict[str, Any]:
    """Return the numbers that count for this kind of scaling, by the names of their fields."""
    return {name: getattr(rope, name) for name in _KINDS[rope.kind][1]}


def describe_rope(rope: Rope) -> dict[str, Any]:
    """Return the kind and its numbers, as JSON can hold them."""
    others = {"scale": rope.scale, "fraction": rope.fraction}
    told = {name: value for name, value in others.items() if value != 1.0}
    return {"kind": rope.kind, "theta": rope.theta, **rope_numbers(rope), **told}


def rotated(rope: Rope, head_dim: int) -> int:
    """Return how many features of a head are turned."""
    return int(head_dim * rope.fraction)


@functools.lru_cache(maxsize=64)
def rope_frequencies(rope: Rope, features: int, context: int) -> Any:
    """Return the radians per position of each pair of `features`, for a text of `context` tokens.

    Only `dynamic` scaling looks at the context, and only beyond the original one.
    """
    numbers = rope_numbers(rope)
    if rope.kind == "dynamic":
        numbers["context"] = context
    return _KINDS[rope.kind][0](rope.theta, features, **numbers)
