"""How well a model predicts text that it is not trained on."""

import math
from typing import Any

import numpy as np

from tinyllm.backend import Backend
from tinyllm.errors import UsageError
from tinyllm.models.architecture import Config, architecture
from tinyllm.ops.losses import IGNORED, summed_cross_entropy
from tinyllm.training.tasks import Task, next_tokens


def mean_loss(
    xp: Backend,
    config: Config,
    p: dict[str, Any],
    tokens: Any,
    *,
    seq_len: int,
    batch_size: int = 16,
    limit: int = 256,
    task: Task = next_tokens,
) -> float:
    """Return the mean cross-entropy in nats over the first `limit` windows of the tokens.

    tokens (N,)

    The windows do not overlap, and each begins without context. The last may be shorter.
    Raises UsageError where the task asks for none of the tokens.
    """
    model = architecture(config)
    starts = range(0, len(tokens) - 1, seq_len)[:limit]
    whole = [i for i in starts if i + seq_len < len(tokens)]
    size = max(1, batch_size // 2)  # for two batches at once
    batches = [whole[i : i + size] for i in range(0, len(whole), size)]
    batches += [[i] for i in starts[len(whole) :]]

    def loss_of(batch: list[int]) -> tuple[float, int]:
        rows = np.stack([tokens[i : i + seq_len + 1] for i in batch]).astype(np.int64)
        ids, targets = task(rows, batch[:1])
        hidden = model.hidden_states(xp, xp.asarray(ids), p, config)
        logits, _ = model.head(xp, hidden, p, config)
        loss, _ = summed_cross_entropy(xp, logits, xp.asarray(targets))
        return float(loss), int(np.count_nonzero(targets != IGNORED))

    losses, counts = zip(*xp.parallel_map(loss_of, batches), strict=True)
    if not any(counts):
        raise UsageError("the validation data have no token that could be asked for: take more")
    return math.fsum(losses) / sum(counts)
