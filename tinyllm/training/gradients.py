"""The gradient of a batch: what every step of training needs.

All is summed over the targets that count, and nothing is divided: so the sums of micro-batches of
unequal lengths add up to those of one batch, and whoever knows how many targets there are in all
divides once. The mean of means is another number, which weighs a short text like a long one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Params
from tinyllm.models.architecture import Config, architecture
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.losses import IGNORED, summed_cross_entropy


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

    `p` is the parameter tree; a target of -100 is not counted. The batch is cut into two halves,
    for two workers, and each draws its own dropout from `seed`: so numbers depend neither on how
    many workers there are nor on who is faster.
    """
    B = tokens.shape[0]
    middle = (B + 1) // 2
    halves = [slice(0, middle), slice(middle, B)] if B > 1 else [slice(0, B)]

    def half(part: int) -> Gradients:
        drop = Dropout(rate=dropout, rng=np.random.default_rng([*seed, part])) if dropout else None
        rows = halves[part]
        return _gradients(xp, config, p, tokens[rows], targets[rows], drop)

    return added(xp.parallel_map(half, range(len(halves))))


def added(parts: Sequence[Gradients]) -> Gradients:
    """Add up what parts of a batch say, in their order."""
    grads = dict(parts[0].grads)
    for part in parts[1:]:
        for name, grad in part.grads.items():
            grads[name] = grads[name] + grad
    return Gradients(
        loss_sum=sum(part.loss_sum for part in parts),
        count=sum(part.count for part in parts),
        grads=grads,
    )


def _gradients(
    xp: Backend,
    config: Config,
    p: dict[str, Any],
    tokens: Array,
    targets: Array,
    dropout: Dropout | None,
) -> Gradients:
    model, options = architecture(config), {} if dropout is None else {"dropout": dropout}
    logits, saved = model.forward(xp, xp.asarray(tokens), p, config, **options)
    loss, dlogits = summed_cross_entropy(xp, logits, xp.asarray(targets))
    del logits
    _, grads = model.backward(xp, dlogits, saved)
    count = int(np.count_nonzero(np.asarray(xp.to_numpy(targets)) != IGNORED))
    return Gradients(loss_sum=float(loss), count=count, grads=grads)
