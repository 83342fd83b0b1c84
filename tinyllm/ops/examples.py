"""Every operation by its name, and small arguments to call it with: the pairs that are checked.

    linear = pairs()["linear"]
    arrays, options = EXAMPLES["linear"](np.random.default_rng(0))
    y, saved = linear.forward(xp, *arrays, **options)

Sizes differ, so that swapped axes cannot hide. A new pair needs an example here, or a test fails.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinyllm.ops
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.recurrent import LSTM

Rng = np.random.Generator
Example = tuple[list[Any], dict[str, Any]]  # arrays in order, and options by name


class Pair(NamedTuple):
    """An operation and its gradient."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]

    @property
    def arguments(self) -> list[str]:
        """The names of the forward function's arguments behind `xp`."""
        return list(inspect.signature(self.forward).parameters)[1:]


def pairs() -> dict[str, Pair]:
    """Return every `<name>_forward` of the modules in `tinyllm.ops` with its backward function."""
    modules = [
        importlib.import_module(f"tinyllm.ops.{found.name}")
        for found in pkgutil.iter_modules(tinyllm.ops.__path__)
    ]
    return {
        name.removesuffix("_forward"): Pair(
            forward, getattr(module, f"{name.removesuffix('_forward')}_backward")
        )
        for module in modules
        for name, forward in vars(module).items()
        if name.endswith("_forward") and forward.__module__ == module.__name__
    }


def _normal(*shapes: tuple[int, ...], **options: Any) -> Callable[[Rng], Example]:
    """Return a function that draws arrays of these shapes."""
    return lambda rng: ([rng.standard_normal(shape) for shape in shapes], options)


def _embedding(rng: Rng) -> Example:
    return [rng.integers(0, 5, (2, 3)), rng.standard_normal((5, 4))], {}


def _relative_position(rng: Rng) -> Example:
    return [rng.integers(0, 6, (2, 3, 5)), rng.standard_normal((6, 4))], {}


def _relu(rng: Rng) -> Example:
    x = rng.standard_normal((2, 3))
    return [x + 0.1 * np.sign(x)], {}  # away from the kink


def _clip(rng: Rng) -> Example:
    x = rng.standard_normal((2, 3))
    return [x + 0.1 * np.sign(np.abs(x) - 1.0) * np.sign(x)], {"limit": 1.0}  # away from the kinks


def _dropout(rng: Rng) -> Example:
    return [rng.standard_normal((2, 3))], {"dropout": Dropout(rate=0.5, rng=rng)}


def _cross_entropy(rng: Rng) -> Example:
    logits, targets = rng.standard_normal((2, 3, 5)), rng.integers(0, 5, (2, 3))
    targets[1, 2] = -100
    return [logits, targets], {"label_smoothing": 0.1, "z_loss": 0.2}


def _negative_sampling(rng: Rng) -> Example:
    x, targets, noise = (rng.standard_normal(shape) for shape in ((3, 4), (3, 2, 4), (5, 4)))
    return [x, targets, rng.random((3, 2)), noise], {"negatives": 6}


def _glove(rng: Rng) -> Example:
    x, y, b, c = (rng.standard_normal(shape) for shape in ((3, 4), (3, 4), (3,), (3,)))
    return [x, y, b, c, np.asarray([0.1, 5.0, 20.0])], {"x_max": 10.0, "alpha": 0.75}


def _expert_weights(rng: Rng) -> Example:
    scores = rng.standard_normal((4, 5))
    ids = np.argsort(-scores, axis=-1)[:, :2]
    return [scores, ids], {"renormalise": True, "scale": 3.0}


_ATTENTION = (2, 4, 3, 6), (2, 2, 5, 6), (2, 2, 5, 7), (4, 3, 5)
EXAMPLES: dict[str, Callable[[Rng], Example]] = {
    "linear": _normal((2, 3, 4), (5, 4), (5,)),
    "embedding": _embedding,
    "relative_position": _relative_position,
    "rmsnorm": _normal((2, 3, 4), (4,), eps=1e-5),
    "layernorm": _normal((2, 3, 4), (4,), (4,), eps=1e-5),
    "relu": _relu,
    "gelu": _normal((2, 3)),
    "gelu_tanh": _normal((2, 3)),
    "silu": _normal((2, 3)),
    "clip": _clip,
    "softcap": _normal((2, 3), cap=1.5),
    "dropout": _dropout,
    "softmax": _normal((2, 3)),
    "log_softmax": _normal((2, 3)),
    "cross_entropy": _cross_entropy,
    "kl": _normal((2, 3, 5), (2, 3, 5), temperature=1.5),
    "reverse_kl": _normal((2, 3, 5), (2, 3, 5), temperature=1.5),
    "mean_square": _normal((2, 3, 5), (2, 3, 5)),
    "low_rank": _normal((2, 3, 4), (2, 4), (5, 2), scale=0.5),
    "negative_sampling": _negative_sampling,
    "glove": _glove,
    "expert_weights": _expert_weights,
    "balance": _normal((2, 3, 5), (2, 5)),
    "router_z": _normal((2, 3, 5)),
    "rope_half": _normal((2, 3, 4, 6), (4, 3), (4, 3)),
    "rope_interleaved": _normal((2, 3, 4, 6), (4, 3), (4, 3)),
    "attention": _normal(*_ATTENTION, softcap=5.0),
    "flash_attention": _normal(*_ATTENTION, softcap=5.0, tile=(2, 3)),
    "flash_attention1": _normal(*_ATTENTION, softcap=5.0, tile=(2, 3)),
    "tanh_cell": _normal((2, 3), (2, 3), (2, 3)),
    "relu_cell": _normal((2, 3), (2, 3), (2, 3)),
    "lstm_cell": _normal((2, 12), (2, 12), (2, 6)),
    "linear_candidate_cell": _normal((2, 12), (2, 12), (2, 6)),
    "gru_cell": _normal((2, 9), (2, 9), (2, 3)),
    "recurrent": _normal((2, 3, 4), (2, 10), (20, 4), (20, 5), (20,), (20,), cell=LSTM),
}

# Arguments of floats that are constants all the same, so that their gradient is None.
CONSTANTS = {
    "rope_half": ("cos", "sin"),
    "rope_interleaved": ("cos", "sin"),
    "negative_sampling": ("weight",),
    "glove": ("counts",),
    "kl": ("teacher",),
    "reverse_kl": ("teacher",),
    "mean_square": ("target",),
    "balance": ("load",),
}
