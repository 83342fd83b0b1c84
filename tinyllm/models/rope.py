"""How a model's rotary positions are scaled, as its config describes it."""

import functools
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


@functools.lru_cache(maxsize=64)
def rope_frequencies(rope: Rope, head_dim: int, context: int) -> Any:
    """Return the radians per position of each feature pair, for a text of `context` tokens.

    Only `dynamic` scaling looks at the context, and only beyond the original one.
    """
    match rope.kind:
        case "default":
            return default_frequencies(rope.theta, head_dim)
        case "linear":
            return linear_frequencies(rope.theta, head_dim, factor=rope.factor)
        case "dynamic":
            return dynamic_frequencies(
                rope.theta,
                head_dim,
                factor=rope.factor,
                original_context=rope.original_context,
                context=context,
            )
        case "llama3":
            return llama3_frequencies(
                rope.theta,
                head_dim,
                factor=rope.factor,
                low_freq_factor=rope.low_freq_factor,
                high_freq_factor=rope.high_freq_factor,
                original_context=rope.original_context,
            )
        case "yarn":
            return yarn_frequencies(
                rope.theta,
                head_dim,
                factor=rope.factor,
                original_context=rope.original_context,
                beta_fast=rope.beta_fast,
                beta_slow=rope.beta_slow,
                truncate=rope.truncate,
            )
    raise AssertionError(f"a Rope of kind {rope.kind!r} was made")  # readers refuse other kinds
