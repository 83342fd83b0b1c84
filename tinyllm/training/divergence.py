"""Where the first number is that is not finite."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.errors import TinyllmError
from tinyllm.models.architecture import Config, architecture
from tinyllm.params import flatten
from tinyllm.training.precision import NARROW


class DivergedError(TinyllmError):
    """Training came to a loss or a gradient that is not finite."""

    exit_code = 1


def first_not_finite(
    xp: Backend, config: Config, p: dict[str, Any], grads: Params, batches: Iterable[Any]
) -> str:
    """Name the first of what a step computes that has a number which is not finite.

    Looks at the weights, then at what the forward pass saves of each batch of tokens, layer by
    layer, then at the gradients against the order of the layers, as the backward pass has them.
    """
    for name, x in flatten(p).items():
        if hasattr(x, "dtype") and not _finite(xp, x):
            return f"{name} is not finite{f' in {x.dtype}' if str(x.dtype) in NARROW else ''}"
    model = architecture(config)
    for tokens in batches:
        _, saved = model.forward(xp, model.inputs(xp, tokens), p, config)
        for path, x in saved_arrays(saved):
            if not _finite(xp, x):
                return f"the weights are finite, but what {path} computes with is not"
        del saved
    for name in reversed(grads):
        if not _finite(xp, grads[name]):
            return f"weights and activations are finite, but the gradient of {name} is not"
    return "weights, activations and single gradients are finite, but their sums are not"


def saved_arrays(saved: Saved, path: str = "") -> Iterator[tuple[str, Array]]:
    """Walk through what a forward pass saved, in its order; dicts and lists make the names."""
    if isinstance(saved, dict):
        for name, value in saved.items():
            yield from saved_arrays(value, f"{path}.{name}" if path else str(name))
    elif isinstance(saved, list):
        for index, value in enumerate(saved):
            yield from saved_arrays(value, f"{path}.{index}")
    elif isinstance(saved, tuple):
        for value in saved:
            yield from saved_arrays(value, path)
    elif hasattr(saved, "dtype") and hasattr(saved, "ndim"):
        yield path, saved


def _finite(xp: Backend, x: Array) -> bool:
    return bool(np.isfinite(xp.to_numpy(x)).all())
