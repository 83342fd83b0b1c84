"""What a layer is to those that are built of layers: two functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tinyllm.backend import Array, Saved


class Layer(NamedTuple):
    """A forward function whose options are bound to it, and its backward function."""

    forward: Callable[..., tuple[Array, Saved]]  # (xp, x, p) -> y, saved
    backward: Callable[..., tuple[Array, dict[str, Any]]]  # (xp, dy, saved) -> dx, grads
