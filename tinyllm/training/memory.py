"""How much memory a step of training takes, before the first: by counting, and on a short text."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params, get_backend
from tinyllm.errors import UsageError
from tinyllm.models.architecture import Config, architecture
from tinyllm.params import nest
from tinyllm.shown import quantity
from tinyllm.training.divergence import saved_arrays
from tinyllm.training.gradients import pieces
from tinyllm.training.optimizers import OPTIMIZERS
from tinyllm.training.settings import Settings

SHORT = 16  # tokens of the text on which is measured what the forward pass saves


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingMemory:
    """The bytes that a step takes at its fullest, by what they are for."""

    weights: int  # with 16-bit copies and an average, where there are such
    moments: int  # what the optimiser remembers
    gradients: int
    activations: int  # what the forward pass saves for the backward pass, and the logits

    @property
    def total(self) -> int:
        """Return their sum."""
        return self.weights + self.moments + self.gradients + self.activations

    def __str__(self) -> str:
        parts = ("weights", "moments", "gradients", "activations")
        return ", ".join(f"{name} {quantity(getattr(self, name), 'B')}" for name in parts)


def training_memory(
    xp: Backend,
    config: Config,
    params: Params,
    settings: Settings,
    *,
    teacher: tuple[Config, Params] | None = None,
) -> TrainingMemory:
    """Estimate what a step takes with these weights.

    Activations are those of a short text, times the tokens that are in work at once; with a
    `teacher` whose states are learnt from, whose weights are there already, its own, too.
    """
    models = [(config, params), *filter(None, [teacher])]
    token = sum(_bytes_of_a_token(xp, *model, settings) for model in models)
    weights = sum(p.size * p.dtype.itemsize for p in params.values())
    at_once, parts = pieces(xp, settings.batch_size, settings.seq_len, dropout=settings.dropout)
    workers = 1 if xp.name == "cupy" else len(parts)  # a GPU takes one part after another
    gradients = sum(min(2, part) for part in parts)  # of a piece, and the sum of those before it
    if settings.accum > 1:
        gradients += 1
    copies = 0 if settings.precision == "float32" else weights // 2
    averages = weights if settings.average != "none" else 0
    return TrainingMemory(
        weights=weights + copies + averages,
        moments=len(OPTIMIZERS[settings.optimizer].buffers) * weights,
        gradients=max(2, gradients) * weights,  # a step has them, scaled, and new weights
        activations=round(token * at_once * workers),
    )


def check_training_memory(
    xp: Backend,
    config: Config,
    params: Params,
    settings: Settings,
    *,
    teacher: tuple[Config, Params] | None = None,
) -> TrainingMemory:
    """Return the estimate. Raises UsageError where it is more than there is, with what to try."""
    needed = training_memory(xp, config, params, settings, teacher=teacher)
    free = xp.free_memory()
    if free is not None and xp.name != "cupy":
        free += sum(p.nbytes for p in params.values())  # the weights are there already
    if free is not None and needed.total > free:
        raise UsageError(
            f"training takes about {quantity(needed.total, 'B')} ({needed}), and "
            f"{quantity(free, 'B')} of memory are there: a smaller --batch-size with more --accum, "
            f"a smaller --seq-len or model may do, or --optimizer momentum; --force tries all the "
            f"same"
        )
    return needed


def _bytes_of_a_token(xp: Backend, config: Config, params: Params, settings: Settings) -> float:
    """Run a short text forward, and count what is saved of each token, and its logits twice."""
    host, T = get_backend("numpy"), min(SHORT, settings.seq_len)
    params = {name: np.asarray(xp.to_numpy(p)) for name, p in params.items()}
    tokens = np.arange(T)[None] % config.vocab_size
    logits, saved = architecture(config).forward(host, tokens, nest(params), config)
    known = {_memory_of(p) for p in params.values()}
    arrays = {_memory_of(x): x.nbytes for _, x in saved_arrays(saved)}
    kept = sum(size for address, size in arrays.items() if address not in known)
    return (kept + 2 * logits.nbytes) / T


def _memory_of(x: Any) -> Any:
    """Say which memory an array is of: views of one are counted once."""
    while x.base is not None and hasattr(x.base, "base"):
        x = x.base
    return x.__array_interface__["data"][0]
