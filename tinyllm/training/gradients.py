"""The gradient of a batch: what every step of training needs.

All is summed over the targets that count, and nothing is divided: so the sums of micro-batches of
unequal lengths add up to those of one batch, and whoever knows how many targets there are in all
divides once. The mean of means is another number, which weighs a short text like a long one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Params
from tinyllm.models.architecture import Config, architecture
from tinyllm.models.balance import Routed
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.losses import IGNORED
from tinyllm.training.losses import Loss, next_token_loss
from tinyllm.training.objective import CROSS_ENTROPY, Objective

PIECE = 512  # tokens that are in work at once: what is kept of them fits into a cache, or nearly
GPU_PIECE = 2**15  # tokens: a GPU has no such cache, and many cores to fill


@dataclass(frozen=True, kw_only=True, slots=True)
class Gradients:
    """What a batch says of the parameters: sums over its `count` targets."""

    loss_sum: float  # nats, of what the objective has of the scores of tokens
    count: int
    grads: Params
    routed: Routed | None = None  # where there are mixtures of experts: what came of these
    terms: dict[str, float] = field(default_factory=dict)  # what a loss of several is made of


def batch_gradients(
    xp: Backend,
    config: Config,
    p: dict[str, Any],
    tokens: Any,
    targets: Array,
    *,
    loss: Loss = next_token_loss,
    objective: Objective = CROSS_ENTROPY,
    seed: Sequence[int] = (0,),
    dropout: float = 0.0,
    loss_scale: float | None = None,
) -> Gradients:
    """Sum the loss and its gradient for every parameter over the targets that count.

    tokens (B, T), targets (B, T)

    Tokens may also be what else the model's `inputs` takes and has rows: pairs of texts. `p` is the
    parameter tree; a target of -100 is not counted. Two workers take half of the rows
    each, a few rows at a time, for memory then need not grow with the batch. Each half draws its
    own dropout from `seed`. So no number depends on how many workers there are, or who is faster.

    What the `objective` has beside the `loss` is in the gradient, too. All gradients are
    `loss_scale` times as large, where that is given, and may then not be finite.
    """
    B, T = targets.shape
    middle, height = (B + 1) // 2, _height(xp, T, dropout)

    def half(part: int) -> Gradients:
        drop = Dropout(rate=dropout, rng=np.random.default_rng([*seed, part])) if dropout else None
        start, stop = (0, middle) if part == 0 else (middle, B)
        total: Gradients | None = None
        for first in range(start, stop, height):
            rows = slice(first, min(first + height, stop))
            found = gradients_at_once(
                xp, config, p, tokens[rows], targets[rows],
                loss=loss, objective=objective, dropout=drop, loss_scale=loss_scale,
            )  # fmt: skip
            total = found if total is None else _merged(total, found)
        assert total is not None
        return total

    first, *others = xp.parallel_map(half, range(min(B, 2)))
    return _merged(first, others[0]) if others else first


def _height(xp: Backend, T: int, dropout: float) -> int:
    """Return how many texts of T tokens are in work at once, in each half."""
    piece = GPU_PIECE if xp.name == "cupy" and not dropout else PIECE  # masks go by pieces
    return max(1, piece // T)


def pieces(xp: Backend, B: int, T: int, *, dropout: float = 0.0) -> tuple[int, list[int]]:
    """Return how many tokens `batch_gradients` works on at once, and in how many pieces each half.

    >>> from tinyllm.backend import get_backend
    >>> pieces(get_backend("numpy"), 7, 256)
    (512, [2, 2])
    """
    height, halves = _height(xp, T, dropout), [(B + 1) // 2, B // 2]
    return min(height, halves[0]) * T, [-(-rows // height) for rows in halves if rows]


def gradients_at_once(
    xp: Backend,
    config: Config,
    p: dict[str, Any],
    tokens: Any,
    targets: Array,
    *,
    loss: Loss = next_token_loss,
    objective: Objective = CROSS_ENTROPY,
    dropout: Dropout | None = None,
    loss_scale: float | None = None,
) -> Gradients:
    """Go once forward and once back: the same for a few texts, all in work at once.

    tokens (B, T), targets (B, T)
    """
    model, options = architecture(config), {} if dropout is None else {"dropout": dropout}
    tokens, targets = model.inputs(xp, tokens), xp.asarray(targets)
    logits, saved = model.forward(xp, tokens, p, config, **options)
    found = loss(xp, logits, saved, tokens, targets, p, objective)
    counts = np.count_nonzero(np.asarray(xp.to_numpy(targets)) != IGNORED, axis=1)
    counted = xp.asarray(counts, dtype=logits.dtype)
    routed, saved = model.balanced(xp, found.saved, objective.balance, counted)
    del logits
    if loss_scale is None:
        _, grads = model.backward(xp, found.dlogits, saved)
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # whoever scales looks at what came out
            _, grads = model.backward(xp, loss_scale * found.dlogits, saved)
    for name, grad in found.grads.items():
        grads[name] = grads[name] + grad if name in grads else grad
    return Gradients(
        loss_sum=found.loss, count=int(counts.sum()), grads=grads, routed=routed, terms=found.terms
    )


def added(parts: Sequence[Gradients]) -> Gradients:
    """Add up what parts of a batch say, in their order."""
    return reduce(_merged, [replace(part, grads=dict(part.grads)) for part in parts])


def _merged(total: Gradients, part: Gradients) -> Gradients:
    """Add two parts, using up both dicts: only one gradient at a time is in memory once more.

    A new array each time, for a model may give one gradient by two names.
    """
    with np.errstate(invalid="ignore"):  # ∞ - ∞, where a loss scale was too large
        for name, grad in total.grads.items():
            total.grads[name] = grad + part.grads.pop(name)
    routed = None if total.routed is None or part.routed is None else total.routed + part.routed
    terms = {name: value + part.terms[name] for name, value in total.terms.items()}
    return Gradients(
        loss_sum=total.loss_sum + part.loss_sum, count=total.count + part.count,
        grads=total.grads, routed=routed, terms=terms,
    )  # fmt: skip
