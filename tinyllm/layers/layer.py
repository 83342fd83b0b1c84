"""What a layer is to those that are built of layers: two functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyllm.backend import Array, Saved


@dataclass(frozen=True, slots=True)
class Layer:
    """A forward function whose options are bound to it, and its backward function."""

    forward: Callable[..., tuple[Array, Saved]]  # (xp, x, p) -> y, saved
    backward: Callable[..., tuple[Array, dict[str, Any]]]  # (xp, dy, saved) -> dx, grads
