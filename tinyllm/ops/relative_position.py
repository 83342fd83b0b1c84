"""T5's relative positions: what a head adds to a score is learned for each range of distances.

Raffel et al. 2019, "Exploring the limits of transfer learning with a unified text-to-text
transformer" (arXiv:1910.10683), section 2.1. One table serves all layers of a stack, so its
gradient is the sum of theirs. Scores are not divided by √d, and cross-attention has no such bias.
"""

import math
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Saved
from tinyllm.errors import ConfigError
from tinyllm.ops.linear import rows


def relative_buckets(
    queries: Any, keys: Any, *, n_buckets: int, max_distance: int, causal: bool
) -> Any:
    """Sort pairs of positions by distance: exactly while it is short, then in growing ranges.

    queries (..., T), keys (..., S) -> buckets (..., T, S), an int64 NumPy array

    Positions are in tokens, on the host. Where any key may be seen, half of the n buckets are for
    keys before the query and half for those behind; a causal decoder counts keys behind as at
    distance 0. Of the n for one direction the first e = n // 2 hold one distance each. The others
    divide those up to `max_distance` evenly by their logarithm, and the last also holds all beyond:

        e + ⌊(n - e) log(distance / e) / log(max_distance / e)⌋

    The logarithm is that of float32, as in T5's code: at a bucket's edge rounding decides.
    Raises ConfigError where no bucket or no distance is left for the ranges.
    """
    n = n_buckets if causal else n_buckets // 2
    exact = n // 2
    if not 0 < exact < max_distance:
        raise ConfigError(
            f"{n_buckets} buckets for distances up to {max_distance}: expected at least "
            f"{2 if causal else 4} buckets, and more distances than the {exact} of a bucket each"
        )
    distances = np.asarray(queries)[..., :, None] - np.asarray(keys)[..., None, :]
    behind = distances < 0
    distances = np.where(behind, 0, distances) if causal else np.abs(distances)
    ratio = np.maximum(distances, exact).astype(np.float32) / np.float32(exact)
    growth = np.log(ratio) / np.float32(math.log(max_distance / exact)) * np.float32(n - exact)
    ranges = np.minimum(exact + growth.astype(np.int64), n - 1)
    buckets = np.where(distances < exact, distances, ranges)
    return buckets if causal else buckets + n * behind


def relative_position_forward(xp: Backend, buckets: Array, weight: Array) -> tuple[Array, Saved]:
    """Look up what each head adds to the score of each pair: y = W[bucket, h].

    buckets (..., T, S), weight (N, H) -> y (..., H, T, S)
    """
    *lead, T, S = range(buckets.ndim)  # axes; the next one is that of the heads
    ids = xp.reshape(buckets, (math.prod(buckets.shape),))
    y = xp.reshape(xp.take(weight, ids, axis=0), (*buckets.shape, weight.shape[1]))
    return xp.permute_dims(y, (*lead, S + 1, T, S)), (ids, weight.shape[0])


def relative_position_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[None, Array]:
    """dW[n, h] = Σ dy[h] over the pairs in bucket n; buckets have no gradient."""
    ids, n_buckets = saved
    *lead, H, T, S = range(dy.ndim)
    return None, xp.index_add(n_buckets, ids, rows(xp, xp.permute_dims(dy, (*lead, T, S, H))))
