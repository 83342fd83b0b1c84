"""Attention by blocks of queries: the scores of a block are made, used and forgotten in the cache.

The whole (T, S) matrix of `tinyllm.ops.attention` is never in memory: a block of queries needs only
its own rows of it, and of those only the keys that the mask shows to any of its queries, which
halves the work on a causal text. The backward pass makes the scores again, from the logarithm of
each row's sum, L = log Σ exp(S), as in Dao et al. 2022, "FlashAttention" (arXiv:2205.14135),
section 3.1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyllm_numpy.threads import parallel_map

ROWS = 256  # queries of a block, counting all heads that share their keys
SMALL = 2**16  # scores: so few are made at once, by the formula
SHARED = 2**19  # scores: from here on it pays to share the heads among workers


class Blocked(NamedTuple):
    """What the forward pass keeps: its arguments, what it gave, and L (B, H, T, 1)."""

    q: Any
    k: Any
    v: Any
    mask: Any
    scale: float
    o: Any
    logsum: Any


def pays(q: Any, k: Any) -> bool:
    """Say whether there are so many scores that it pays to go by blocks."""
    return q.size // q.shape[-1] * k.shape[2] > SMALL


def blocked_forward(
    q: Any, k: Any, v: Any, *, mask: Any, scale: float | None
) -> tuple[Any, Blocked]:
    """O = softmax(scale Q Kᵀ) V.

    q (B, H, T, d), k (B, K, S, d), v (B, K, S, e) -> o (B, H, T, e)
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    (B, H, T, _), K = q.shape, k.shape[1]
    o = np.empty((B, H, T, v.shape[-1]), q.dtype)
    logsum = np.empty((B, H, T, 1), q.dtype)

    def key_head(b: int, j: int, blocks: list[Any]) -> None:
        heads = slice(j * H // K, (j + 1) * H // K)
        for rows, keys, hidden in blocks:
            scores = _scores(q[b, heads, rows], k[b, j, keys], hidden, scale)
            highest = scores.max(axis=-1, keepdims=True)
            highest[highest == -np.inf] = 0.0  # a query that sees nothing gives 0
            scores -= highest
            np.exp(scores, out=scores)
            total = scores.sum(axis=-1, keepdims=True)
            total[total == 0.0] = 1.0
            o[b, heads, rows] = _heads((_rows(scores) @ v[b, j, keys]), scores) / total
            logsum[b, heads, rows] = highest + np.log(total)

    _for_each_key_head(key_head, q, k, mask)
    return o, Blocked(q, k, v, mask, scale, o, logsum)


def blocked_backward(dy: Any, saved: Blocked) -> tuple[Any, Any, Any]:
    """dV = Pᵀ dO,  dS = P ⊙ (dO Vᵀ - Σ dO ⊙ O),  dQ = scale dS K,  dK = scale dSᵀ Q.

    P = exp(S - L), and Σ dO ⊙ O, over the features, is Σ dP ⊙ P over the keys (arXiv:2205.14135,
    appendix B.2).
    """
    q, k, v, mask, scale, o, logsum = saved
    H, K = q.shape[1], k.shape[1]
    dq, dk, dv = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
    along = (dy * o).sum(axis=-1, keepdims=True)  # (B, H, T, 1)

    def key_head(b: int, j: int, blocks: list[Any]) -> None:
        heads = slice(j * H // K, (j + 1) * H // K)
        for rows, keys, hidden in blocks:
            probs = _scores(q[b, heads, rows], k[b, j, keys], hidden, scale)
            probs -= logsum[b, heads, rows]
            np.exp(probs, out=probs)
            dout = _rows(dy[b, heads, rows])
            dv[b, j, keys] += _rows(probs).T @ dout
            dscores = _heads(dout @ v[b, j, keys].T, probs)
            dscores -= along[b, heads, rows]
            dscores *= probs
            dscores *= scale
            dq[b, heads, rows] = _heads(_rows(dscores) @ k[b, j, keys], probs)
            dk[b, j, keys] += _rows(dscores).T @ _rows(q[b, heads, rows])

    _for_each_key_head(key_head, q, k, mask)
    return dq, dk, dv


def _for_each_key_head(work: Callable[..., None], q: Any, k: Any, mask: Any) -> None:
    """Call work(b, j, blocks) for every text b and key head j, on several cores where it pays."""
    (B, H, T, _), (K, S) = q.shape, k.shape[1:3]
    if mask is None:
        mask = np.ones((1, 1, 1, 1), np.bool_)
    mask = np.broadcast_to(mask, (B, H, T, S))
    plans: dict[tuple[int, int], list[Any]] = {}
    items = []
    for b in range(B):
        for j in range(K):
            same = (b if mask.strides[0] else 0, j if mask.strides[1] else 0)  # one mask for all?
            if same not in plans:
                heads = slice(j * H // K, (j + 1) * H // K if mask.strides[1] else j * H // K + 1)
                plans[same] = _plan(mask[b, heads], max(1, ROWS * K // H))
            items.append((b, j, plans[same]))
    if B * H * T * S >= SHARED:
        parallel_map(lambda item: work(*item), items)
    else:
        for item in items:
            work(*item)


def _plan(mask: Any, height: int) -> list[Any]:
    """Cut the queries into blocks: their rows, the keys that any of them sees, and what is hidden.

    mask (h, T, S) -> [(rows, keys, hidden (h, rows, keys) or None), …]
    """
    plan = []
    for start in range(0, mask.shape[1], height):
        rows = slice(start, start + height)
        visible = np.flatnonzero(mask[:, rows].any(axis=(0, 1)))
        keys = slice(visible[0], visible[-1] + 1) if len(visible) else slice(0, 1)
        hidden = ~mask[:, rows, keys]
        plan.append((rows, keys, hidden if hidden.any() else None))
    return plan


def _scores(q: Any, k: Any, hidden: Any, scale: float) -> Any:
    """S = scale Q Kᵀ, and -inf where hidden: q (h, r, d), k (n, d) -> (h, r, n)."""
    scores = _heads((_rows(q) * scale) @ k.T, q)
    if hidden is not None:
        np.copyto(scores, -np.inf, where=hidden)
    return scores


def _rows(x: Any) -> Any:
    """Put the heads under one another: x (h, r, n) -> (h r, n)."""
    return x.reshape(-1, x.shape[-1])


def _heads(x: Any, like: Any) -> Any:
    """Undo `_rows`: x (h r, n) -> (h, r, n), with the h and r of `like`."""
    return x.reshape(*like.shape[:2], -1)
