"""Query heads one by one: which stay, and what they take over from those that go."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.compression.groups import Groups
from tinyllm.errors import UsageError
from tinyllm.models.config import DecoderConfig


def best(weights: Any, count: int, flag: str, what: str) -> list[int]:
    """Return the `count` most active units, in their order; of equals the first."""
    if not 1 <= count <= len(weights):
        raise UsageError(
            f"{flag} is {count}, expected 1 to {len(weights)}: there are so many {what}"
        )
    return sorted(np.argsort(-weights, kind="stable")[:count].tolist())


def best_heads(weights: Any, config: DecoderConfig, count: int, block: int) -> list[int]:
    """Return the query heads that stay: of each group as many, or of single heads the best."""
    K, H = config.n_kv_heads, config.n_heads
    if K == H:
        return best(weights, count, "--heads", f"heads in block {block}")
    if not K <= count <= H or count % K:
        raise UsageError(
            f"--heads is {count}, expected a multiple of {K} up to {H}: each of {K} key/value "
            f"heads keeps as many query heads"
        )
    G = H // K
    groups = [best(weights[k * G :][:G], count // K, "--heads", "heads") for k in range(K)]
    return [k * G + i for k, group in enumerate(groups) for i in group]


def query_heads(groups: Groups, config: DecoderConfig) -> Groups:
    """Return groups of single query heads, out of key/value heads with theirs."""
    if config.n_kv_heads == config.n_heads:
        return groups
    of_queries = (".q_proj.", ".o_proj.")
    members = {
        axis: indices.reshape(config.n_heads, -1)
        for axis, indices in groups.members.items()
        if any(part in axis[0] for part in of_queries)
    }
    return Groups(members=members)


def merged_heads(
    xp: Backend,
    params: Params,
    heads: Groups,
    weights: Any,
    stay: Sequence[int],
    config: DecoderConfig,
) -> Params:
    """Add to heads that stay what sets them apart from heads that go: W_i ← 2 W_i - W_j.

    Sorted by activity, the last that stays takes the first that goes, the one before it the second,
    and so on (section 2.3): rows of queries, and of keys and values where each head has its own.
    Heads of one group are merged among themselves.
    """
    K, new = config.n_kv_heads, {}
    single = config.n_heads == K
    G = config.n_heads if single else config.n_heads // K
    pairs: list[tuple[int, int]] = []
    for first in range(0, config.n_heads, G):
        order = first + np.argsort(-weights[first : first + G], kind="stable")
        kept = [i for i in order if i in set(stay)]
        pairs += zip(reversed(kept), [i for i in order if i not in set(stay)], strict=False)
    for (name, axis), indices in heads.members.items():
        if axis or ".o_proj." in name:
            continue
        rows = np.arange(params[name].shape[0])
        source = rows.copy()
        for i, j in pairs:
            source[indices[i]] = rows[indices[j]]
        x = params[name]
        new[name] = x + (x - xp.take(x, xp.asarray(source), axis=0))
    return new
