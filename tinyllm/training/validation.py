"""How well a model predicts text that it is not trained on."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyllm.backend import Backend
from tinyllm.errors import UsageError
from tinyllm.models.architecture import Config, architecture
from tinyllm.ops.losses import IGNORED, summed_cross_entropy


def mean_loss(
    xp: Backend, config: Config, p: dict[str, Any], batches: Sequence[tuple[Any, Any]]
) -> float:
    """Return the mean cross-entropy in nats over the targets of all batches.

    tokens (B, T), targets (B, T), …

    Raises UsageError where there is no target in any of them.
    """
    model = architecture(config)

    def loss_of(batch: tuple[Any, Any]) -> tuple[float, int]:
        tokens, targets = batch
        hidden = model.hidden_states(xp, model.inputs(xp, tokens), p, config)
        logits, _ = model.head(xp, hidden, p, config)
        loss, _ = summed_cross_entropy(xp, logits, xp.asarray(targets))
        return float(loss), int(np.count_nonzero(targets != IGNORED))

    losses, counts = zip(*xp.parallel_map(loss_of, batches), strict=True)
    if not any(counts):
        raise UsageError("the validation data have no token that could be asked for: take more")
    return math.fsum(losses) / sum(counts)
