"""The gradient of a batch: what every step of training needs.

All is summed over the targets that count, and nothing is divided: so the sums of micro-batches of
unequal lengths add up to those of one batch, and whoever knows how many targets there are in all
divides once. The mean of means is another number, which weighs a short text like a long one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Params
from tinyllm.models.architecture import Config, architecture
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.losses import IGNORED

PIECE = 512  # tokens that are in work at once: what is kept of them fits into a cache, or nearly


@dataclass(frozen=True, kw_only=True, slots=True)
class Gradients:
    """What a batch says of the parameters: sums over its `count` targets."""

    loss_sum: float  # nats
    count: int
    grads: Params


def batch_gradients(
    xp: Backend,
    config: Config,
    p: dict[str, Any],
    tokens: Array,
    targets: Array,
    *,
    seed: Sequence[int] = (0,),
    dropout: float = 0.0,
) -> Gradients:
    """Sum the cross-entropy and its gradient for every parameter over the targets that count.

    tokens (B, T), targets (B, T)

    `p` is the parameter tree; a target of -100 is not counted. Two workers take half of the rows
    each, a few rows at a time, for memory then need not grow with the batch. Each half draws its
    own dropout from `seed`. So no number depends on how many workers there are, or who is faster.
    """
    B, T = tokens.shape
    middle, height = (B + 1) // 2, max(1, PIECE // T)

    def half(part: int) -> Gradients:
        drop = Dropout(rate=dropout, rng=np.random.default_rng([*seed, part])) if dropout else None
        start, stop = (0, middle) if part == 0 else (middle, B)
        total: Gradients | None = None
        for first in range(start, stop, height):
            rows = slice(first, min(first + height, stop))
            found = _gradients(xp, config, p, tokens[rows], targets[rows], drop)
            total = found if total is None else _merged(total, found)
        assert total is not None
        return total

    first, *others = xp.parallel_map(half, range(min(B, 2)))
    return _merged(first, others[0]) if others else first


def added(parts: Sequence[Gradients]) -> Gradients:
    """Add up what parts of a batch say, in their order."""
    return reduce(_merged, [replace(part, grads=dict(part.grads)) for part in parts])


def _merged(total: Gradients, part: Gradients) -> Gradients:
    """Add two parts, using up both dicts: only one gradient at a time is in memory once more.

    A new array each time, for a model may give one gradient by two names.
    """
    for name, grad in total.grads.items():
        total.grads[name] = grad + part.grads.pop(name)
    return Gradients(
        loss_sum=total.loss_sum + part.loss_sum, count=total.count + part.count, grads=total.grads
    )


def _gradients(
    xp: Backend,
    config: Config,
    p: dict[str, Any],
    tokens: Array,
    targets: Array,
    dropout: Dropout | None,
) -> Gradients:
    """Go once forward and once back."""
    model, options = architecture(config), {} if dropout is None else {"dropout": dropout}
    logits, saved = model.forward(xp, xp.asarray(tokens), p, config, **options)
    loss, dlogits = xp.summed_cross_entropy(logits, xp.asarray(targets))
    del logits
    _, grads = model.backward(xp, dlogits, saved)
    count = int(np.count_nonzero(np.asarray(xp.to_numpy(targets)) != IGNORED))
    return Gradients(loss_sum=float(loss), count=count, grads=grads)
