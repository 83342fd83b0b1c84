"""How well a model predicts text that it is not trained on."""

import math
from typing import Any

import numpy as np

from tinyllm.backend import Backend
from tinyllm.models.architecture import Config, architecture
from tinyllm.ops.losses import summed_cross_entropy


def mean_loss(
    xp: Backend,
    config: Config,
    p: dict[str, Any],
    tokens: Any,
    *,
    seq_len: int,
    batch_size: int = 16,
    limit: int = 256,
) -> float:
    """Return the mean cross-entropy in nats over the first `limit` windows of the tokens.

    tokens (N,)

    The windows do not overlap, and each begins without context. The last may be shorter.
    """
    model = architecture(config)
    starts = range(0, len(tokens) - 1, seq_len)[:limit]
    whole = [i for i in starts if i + seq_len < len(tokens)]
    size = max(1, batch_size // 2)  # for two batches at once
    batches = [whole[i : i + size] for i in range(0, len(whole), size)]
    batches += [[i] for i in starts[len(whole) :]]

    def loss_of(batch: list[int]) -> float:
        rows = np.stack([tokens[i : i + seq_len + 1] for i in batch]).astype(np.int64)
        hidden = model.hidden_states(xp, xp.asarray(rows[:, :-1]), p, config)
        logits, _ = model.head(xp, hidden, p, config)
        return float(summed_cross_entropy(xp, logits, xp.asarray(rows[:, 1:]))[0])

    count = min(len(tokens) - 1, len(starts) * seq_len)
    return math.fsum(xp.parallel_map(loss_of, batches)) / count
