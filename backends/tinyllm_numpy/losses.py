"""The loss of a batch and its gradient, by blocks of rows that stay in the cache.

A row has as many numbers as the vocabulary has tokens. The formula, written in whole arrays, goes
through memory a dozen times; here it reads the logits once and writes the gradient once.
"""

from typing import Any

import numpy as np

from tinyllm.ops.losses import IGNORED

BLOCK = 2**17  # numbers


def summed_cross_entropy(logits: Any, targets: Any, /) -> tuple[Any, Any]:
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
        np.subtract(scores, np.maximum.reduce(scores, axis=-1, keepdims=True), out=probs)
        on_target = probs[each, at]
        np.exp(probs, out=probs)
        total = np.add.reduce(probs, axis=-1, keepdims=True)
        loss += float(np.add.reduce((np.log(total[:, 0]) - on_target)[used], dtype=np.float64))
        probs *= 1.0 / total
        probs[each, at] -= 1.0
        probs[~used] = 0.0
    return flat.dtype.type(loss), dlogits.reshape(logits.shape)
