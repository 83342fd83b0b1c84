"""The loss of a batch and its gradient, by blocks of rows that stay in the cache.

A row has as many numbers as the vocabulary has tokens. The formula, written in whole arrays, goes
through memory a dozen times; here it reads the logits once and writes the gradient once.
"""

from typing import Any

import numpy as np

from tinyllm.ops.losses import IGNORED

BLOCK = 2**17  # numbers


def summed_cross_entropy(
    logits: Any, targets: Any, /, *, label_smoothing: float = 0.0, z_loss: float = 0.0
) -> tuple[Any, Any]:
    """Sum the cross-entropy and differentiate it (see `tinyllm.ops.losses`).

    logits (..., V), targets (...) -> loss (), dlogits (..., V)
    """
    V = logits.shape[-1]
    flat, ids = logits.reshape(-1, V), targets.reshape(-1)
    counted = ids != IGNORED
    ids = np.where(counted, ids, 0)
    dlogits, loss, height = np.empty(flat.shape, flat.dtype), 0.0, max(1, BLOCK // V)
    for start in range(0, len(flat), height):
        rows = slice(start, start + height)
        scores, at, used = flat[rows], ids[rows], counted[rows]
        probs, each = dlogits[rows], np.arange(len(at))
        highest = np.maximum.reduce(scores, axis=-1, keepdims=True)
        np.subtract(scores, highest, out=probs)
        wanted = (1.0 - label_smoothing) * probs[each, at]
        if label_smoothing:
            wanted += label_smoothing * np.mean(probs, axis=-1)
        np.exp(probs, out=probs)
        total = np.add.reduce(probs, axis=-1, keepdims=True)
        nats, scale = (np.log(total) - wanted[:, None])[:, 0], 1.0 / total
        if z_loss:
            log_z = np.log(total) + highest
            nats += z_loss * log_z[:, 0] ** 2
            scale *= 1.0 + 2.0 * z_loss * log_z
        loss += float(np.add.reduce(nats[used], dtype=np.float64))
        probs *= scale
        probs[each, at] -= 1.0 - label_smoothing
        if label_smoothing:
            probs -= label_smoothing / V
        probs[~used] = 0.0
    return flat.dtype.type(loss), dlogits.reshape(logits.shape)
