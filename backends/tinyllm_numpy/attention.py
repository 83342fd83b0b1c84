"""Attention by blocks of queries: the scores of a block are made, used and forgotten in the cache.

The whole (T, S) matrix of `tinyllm.ops.attention` is never in memory: a block of queries needs only
its own rows of it, and of those only the keys that the mask shows to any of its queries, which
halves the work on a causal text. The backward pass makes the scores again, from the logarithm of
each row's sum, L = log Σ exp(S), as in Dao et al. 2022, "FlashAttention" (arXiv:2205.14135),
section 3.1. Where there are few scores, as in decoding, all texts and heads are one block.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyllm_numpy.threads import one_blas_thread, parallel_map

ROWS = 128  # queries of a block, counting all heads that share their keys
SMALL = 2**16  # scores: so few are one block
FEW = 2**12  # scores of a key head: with so few, going from head to head costs more than they do
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


class Hidden(NamedTuple):
    """What is added to a block's scores: `bias` (h, r, n), for a run of n of its keys.

    Where a mask is of truths, -inf or 0: adding is faster than choosing, and most keys of a causal
    block are seen by all its queries.
    """

    run: slice
    bias: Any


def blocked_forward(
    q: Any, k: Any, v: Any, *, mask: Any, scale: float | None
) -> tuple[Any, Blocked]:
    """O = softmax(scale Q Kᵀ) V.

    q (B, H, T, d), k (B, K, S, d), v (B, K, S, e) -> o (B, H, T, e)
    """
    (B, H, T, d), (K, S) = q.shape, k.shape[1:3]
    scale = d**-0.5 if scale is None else scale
    if B * H * T * S <= SMALL or H // K * T * S <= FEW:
        hidden = None if mask is None else _hidden(mask, q.dtype)
        with one_blas_thread:
            o, logsum = _forward(q.reshape(B, K, -1, d), k, v, (B, H, T, S), hidden, scale)
        o, logsum = o.reshape(B, H, T, v.shape[-1]), logsum.reshape(B, H, T, 1)
        return o, Blocked(q, k, v, mask, scale, o, logsum)
    o, logsum = np.empty((B, H, T, v.shape[-1]), q.dtype), np.empty((B, H, T, 1), q.dtype)

    def head(b: int, j: int, heads: slice, blocks: list[Any]) -> None:
        for rows, keys, hidden in blocks:
            queries = q[b, heads, rows]
            o_block, sums = _forward(
                _rows(queries), k[b, j, keys], v[b, j, keys],
                (*queries.shape[:2], keys.stop - keys.start), hidden, scale,
            )  # fmt: skip
            o[b, heads, rows] = o_block.reshape(o[b, heads, rows].shape)
            logsum[b, heads, rows] = sums.reshape(logsum[b, heads, rows].shape)

    _for_each_key_head(head, q, k, mask)
    return o, Blocked(q, k, v, mask, scale, o, logsum)


def blocked_backward(dy: Any, saved: Blocked) -> tuple[Any, Any, Any]:
    """dV = Pᵀ dO,  dS = P ⊙ (dO Vᵀ - Σ dO ⊙ O),  dQ = scale dS K,  dK = scale dSᵀ Q.

    P = exp(S - L), and Σ dO ⊙ O, over the features, is Σ dP ⊙ P over the keys (arXiv:2205.14135,
    appendix B.2).
    """
    q, k, v, mask, scale, o, logsum = saved
    dq, dk, dv = np.empty(q.shape, q.dtype), np.zeros(k.shape, k.dtype), np.zeros(v.shape, v.dtype)
    along = (dy * o).sum(axis=-1, keepdims=True)  # (B, H, T, 1)

    def head(b: int, j: int, heads: slice, blocks: list[Any]) -> None:
        for rows, keys, hidden in blocks:
            queries, dout = scale * _rows(q[b, heads, rows]), _rows(dy[b, heads, rows])
            shape = (*q[b, heads, rows].shape[:2], keys.stop - keys.start)
            probs = _scores(queries, k[b, j, keys], shape, hidden)
            probs -= _rows(logsum[b, heads, rows])
            np.exp(probs, out=probs)
            dv[b, j, keys] += probs.T @ dout
            dscores = dout @ v[b, j, keys].T
            dscores -= _rows(along[b, heads, rows])
            dscores *= probs
            dqueries = scale * (dscores @ k[b, j, keys])
            dq[b, heads, rows] = dqueries.reshape(q[b, heads, rows].shape)
            dk[b, j, keys] += dscores.T @ queries

    _for_each_key_head(head, q, k, mask)
    return dq, dk, dv


def _forward(
    q: Any, k: Any, v: Any, shape: tuple[int, ...], hidden: Hidden | None, scale: float
) -> tuple[Any, Any]:
    """One block: q (..., N, d), k (..., n, d), v (..., n, e) -> o (..., N, e), L (..., N, 1)."""
    scores = _scores(scale * q, k, shape, hidden)
    highest = np.maximum.reduce(scores, axis=-1, keepdims=True)
    if hidden is not None:
        highest[highest == -np.inf] = 0.0  # a query that sees nothing gives 0
    scores -= highest
    np.exp(scores, out=scores)
    total = np.add.reduce(scores, axis=-1, keepdims=True)
    if hidden is not None:
        total[total == 0.0] = 1.0
    o = np.matmul(scores, v)
    o /= total
    highest += np.log(total)
    return o, highest


def _scores(q: Any, k: Any, shape: tuple[int, ...], hidden: Hidden | None) -> Any:
    """S = Q Kᵀ, and -inf where hidden; `shape` has heads and queries as `hidden` has them."""
    scores = np.matmul(q, k.swapaxes(-1, -2))
    if hidden is not None:
        scores.reshape(shape)[..., hidden.run] += hidden.bias
    return scores


def _for_each_key_head(head: Callable[..., None], q: Any, k: Any, mask: Any) -> None:
    """Call head(b, j, query heads, blocks) for every text b and key head j; share many scores."""
    (B, H, T, _), (K, S) = q.shape, k.shape[1:3]
    height = max(1, ROWS * K // H)
    rows = [slice(start, min(start + height, T)) for start in range(0, T, height)]
    blocks = [(run, slice(0, S), None) for run in rows]
    full = None if mask is None else np.broadcast_to(mask, (B, H, T, S))
    plans: dict[tuple[int, int], list[Any]] = {}
    items = []
    for b in range(B):
        for j in range(K):
            heads = slice(j * H // K, (j + 1) * H // K)
            if full is not None:
                same = (b if full.strides[0] else 0, j if full.strides[1] else 0)  # as for others?
                if same not in plans:
                    of = full[b, heads] if full.strides[1] else full[b, :1]
                    plans[same] = [_plan(of, run, q.dtype) for run in rows]
                blocks = plans[same]
            items.append((b, j, heads, blocks))
    with one_blas_thread:
        if B * H * T * S >= SHARED:
            parallel_map(lambda item: head(*item), items)
        else:
            for item in items:
                head(*item)


def _plan(mask: Any, rows: slice, dtype: Any) -> tuple[slice, slice, Hidden | None]:
    """Find the keys that any query of a block sees, and of those the hidden: mask (h, T, S)."""
    seen = mask[:, rows] if mask.dtype == bool else mask[:, rows] > -np.inf
    visible = np.flatnonzero(seen.any(axis=(0, 1)))
    keys = slice(int(visible[0]), int(visible[-1]) + 1) if len(visible) else slice(0, 1)
    return rows, keys, _hidden(mask[:, rows, keys], dtype)


def _hidden(mask: Any, dtype: Any) -> Hidden | None:
    """Turn a mask (..., n) into what is added to scores; None if nothing is hidden."""
    if mask.dtype != bool:
        return Hidden(slice(0, mask.shape[-1]), mask)
    somewhere = np.flatnonzero(~mask.all(axis=tuple(range(mask.ndim - 1))))
    if not len(somewhere):
        return None
    run = slice(int(somewhere[0]), int(somewhere[-1]) + 1)
    return Hidden(run, np.where(mask[..., run], 0.0, -np.inf).astype(dtype))


def _rows(x: Any) -> Any:
    """Put the heads under one another: x (h, r, n) -> (h r, n)."""
    return x.reshape(-1, x.shape[-1])
