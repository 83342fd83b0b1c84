"""Attention by tiles: the scores of a tile are made, used and forgotten in the cache.

The whole (T, S) matrix of `tinyllm.ops.attention` is never in memory. These are the tiles and the
online softmax of `tinyllm.ops.flash` (Dao 2023, "FlashAttention-2", arXiv:2307.08691) in NumPy's
own terms: tiles have the size of the cache, workers share the heads, what can be done in place is.
Where there are few scores, as in decoding, all texts and heads are one tile.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinyllm.ops.flash_tiles import Mask, as_mask, tiles
from tinyllm_numpy.threads import one_blas_thread, parallel_map
from tinyllm_numpy.tiles import Tile, four_axes, seen_tiles

ROWS = 256  # queries of a tile, counting all heads that share their keys
COLUMNS = 512  # keys of a tile
SMALL = 2**16  # scores: so few are one tile
FEW = 2**12  # scores of a key head: with so few, going from head to head costs more than they do
SHARED = 2**19  # scores: from here on it pays to share the heads among workers


class Tiled(NamedTuple):
    """What the forward pass keeps: its arguments, what it gave, and L = log Σ exp(S)."""

    q: Any  # (B, H, T, d)
    k: Any  # (B, K, S, d)
    v: Any  # (B, K, S, e)
    bias: Any  # (..., T, S), or None
    mask: Mask | None
    scale: float
    softcap: float | None
    o: Any  # (B, H, T, e)
    lse: Any  # (B, H, T, 1); 0 for a query that sees nothing


def tiled_forward(
    q: Any,
    k: Any,
    v: Any,
    bias: Any = None,
    /,
    *,
    mask: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[Any, Tiled]:
    """O = softmax(c tanh(scale Q Kᵀ / c) + bias) V.

    q (B, H, T, d), k (B, K, S, d), v (B, K, S, e), bias (..., T, S) -> o (B, H, T, e)
    """
    (B, H, T, d), (K, S) = q.shape, k.shape[1:3]
    mask, scale = as_mask(mask), d**-0.5 if scale is None else scale
    if B * H * T * S <= SMALL or H // K * T * S <= FEW:
        tile = seen_tiles(mask, bias, slice(0, T), S, S, q.dtype)
        with one_blas_thread:
            o, lse = _online(scale * q.reshape(B, K, -1, d), k, v, (B, H, T), tile, softcap)
        o, lse = o.reshape(B, H, T, v.shape[-1]), lse.reshape(B, H, T, 1)
        return o, Tiled(q, k, v, bias, mask, scale, softcap, o, lse)
    o, lse = np.empty((B, H, T, v.shape[-1]), q.dtype), np.empty((B, H, T, 1), q.dtype)

    def head(b: int, j: int, heads: slice, rows: slice, seen: list[Tile]) -> None:
        queries = q[b, heads, rows]
        o_rows, lse_rows = _attend(
            scale * _rows(queries), k[b, j], v[b, j], queries.shape[:2],
            [tile.of(b, heads) for tile in seen], softcap,
        )  # fmt: skip
        o[b, heads, rows] = o_rows.reshape(o[b, heads, rows].shape)
        lse[b, heads, rows] = lse_rows.reshape(lse[b, heads, rows].shape)

    saved = Tiled(q, k, v, bias, mask, scale, softcap, o, lse)
    for _ in _each_key_head(head, saved):
        pass
    return o, saved


def tiled_backward(dy: Any, saved: Tiled) -> tuple[Any, Any, Any, Any]:
    """dV = Pᵀ dO,  dS = P ⊙ (dO Vᵀ - Σ dO ⊙ O),  dQ = scale dS K,  dK = scale dSᵀ Q.

    P = exp(S - L). With a soft cap dS is further multiplied by 1 - tanh²; dbias is dS before that.
    """
    q, k, v, bias, _, scale, softcap, o, lse = saved
    dq, dk, dv = np.zeros(q.shape, q.dtype), np.zeros(k.shape, k.dtype), np.zeros(v.shape, v.dtype)
    dbias = None if bias is None else np.zeros(bias.shape, bias.dtype)
    along = (dy * o).sum(axis=-1, keepdims=True)  # (B, H, T, 1)

    def head(b: int, j: int, heads: slice, rows: slice, seen: list[Tile]) -> list[Any]:
        queries, dout = scale * _rows(q[b, heads, rows]), _rows(dy[b, heads, rows])
        dqueries, shape, for_bias = np.zeros_like(queries), dq[b, heads, rows].shape, []
        for tile in seen:
            keys = k[b, j, tile.keys]
            probs, capped = _scores(queries, keys, shape[:2], tile.of(b, heads), softcap)
            probs -= _rows(lse[b, heads, rows])
            np.exp(probs, out=probs)
            dv[b, j, tile.keys] += probs.T @ dout
            dscores = dout @ v[b, j, tile.keys].T
            dscores -= _rows(along[b, heads, rows])
            dscores *= probs
            if dbias is not None:
                for_bias.append((b, heads, tile, dscores.reshape(*shape[:2], -1)))
            if capped is not None:
                dscores = dscores * (1.0 - capped * capped)
            dqueries += dscores @ keys
            dk[b, j, tile.keys] += dscores.T @ queries
        dq[b, heads, rows] = (scale * dqueries).reshape(shape)
        return for_bias

    for parts in _each_key_head(head, saved):
        for b, heads, tile, dscores in parts:  # in their order, whichever worker was first
            _add_to(four_axes(dbias), b, heads, tile, dscores)
    return dq, dk, dv, dbias


def _attend(
    q: Any, k: Any, v: Any, shape: tuple[int, ...], seen: list[Tile], softcap: float | None
) -> tuple[Any, Any]:
    """One block of queries, tile by tile: q (N, d) -> o (N, e), L (N, 1).

    `shape` is what N counts: heads and queries. Softmax takes the maximum off against overflow
    alone, and most scores are far from it: so e^S is summed as it is, and the online softmax
    follows only where a sum leaves the middle of what the dtype can hold.
    """
    o: Any = 0.0
    total: Any = 0.0
    most = np.finfo(q.dtype).max ** 0.75
    with np.errstate(over="ignore", invalid="ignore"):
        for tile in seen:
            weights, _ = _scores(q, k[tile.keys], shape, tile, softcap)
            np.exp(weights, out=weights)
            total = total + _row_sums(weights)
            o = o + weights @ v[tile.keys]
    if total.min() > 1 / most and total.max() < most:
        return o / total, np.log(total)
    return _online(q, k, v, shape, seen, softcap)


def _online(
    q: Any, k: Any, v: Any, shape: tuple[int, ...], seen: list[Tile], softcap: float | None
) -> tuple[Any, Any]:
    """The same whatever the scores are: a maximum that rises rescales what was summed before it.

    q (..., N, d) -> o (..., N, e), L (..., N, 1)
    """
    first, *others = seen
    o, total, highest = _weighed(q, k, v, shape, first, softcap, None)
    for tile in others:
        new, summed, top = _weighed(q, k, v, shape, tile, softcap, highest)
        rescale = np.exp(highest - _finite(top))
        o = rescale * o + new
        total = rescale * total + summed
        highest = top
    if any(tile.added for tile in seen):
        highest = _finite(highest)
        total[total == 0.0] = 1.0  # a query that sees nothing gives 0
    o /= total
    return o, highest + np.log(total)


def _weighed(
    q: Any,
    k: Any,
    v: Any,
    shape: tuple[int, ...],
    tile: Tile,
    softcap: float | None,
    least: Any,
) -> tuple[Any, Any, Any]:
    """One tile: exp(S - m) V, Σ exp(S - m), and the maximum m of S and `least`, row by row."""
    scores, _ = _scores(q, k[..., tile.keys, :], shape, tile, softcap)
    top = np.maximum.reduce(scores, axis=-1, keepdims=True)
    top = top if least is None else np.maximum(top, least)
    scores -= _finite(top) if tile.added else top
    np.exp(scores, out=scores)
    return scores @ v[..., tile.keys, :], _row_sums(scores), top


def _row_sums(x: Any) -> Any:
    """Add up rows; those of a matrix by BLAS, which is three times as fast."""
    if x.ndim > 2:
        return np.add.reduce(x, axis=-1, keepdims=True)
    return (x @ np.ones(x.shape[-1], x.dtype))[:, None]


def _finite(highest: Any) -> Any:
    """Put 0 for the maximum of nothing: -inf less -inf would be NaN."""
    return np.where(highest == -np.inf, 0.0, highest)


def _scores(
    q: Any, k: Any, shape: tuple[int, ...], tile: Tile, softcap: float | None
) -> tuple[Any, Any]:
    """S = Q Kᵀ, capped, and with what is added; also tanh(S / c) where there is a soft cap."""
    scores, capped = q @ k.swapaxes(-1, -2), None
    if softcap is not None:
        capped = np.tanh(scores / softcap)
        scores = softcap * capped
    for added in tile.added:
        scores.reshape(*shape, -1)[..., added.run] += added.values
    return scores, capped


def _each_key_head(head: Callable[..., Any], x: Tiled) -> Iterator[Any]:
    """Call head(text, key head, its query heads, rows, tiles) for all, and yield what they give.

    A block of rows after another, so that what a mask says of it is made once, and let go of.
    """
    (B, H, T, _), (K, S) = x.q.shape, x.k.shape[1:3]
    items = [(b, j, slice(j * H // K, (j + 1) * H // K)) for b in range(B) for j in range(K)]
    shared = B * H * T * S >= SHARED
    with one_blas_thread:
        for rows in tiles(T, max(1, ROWS * K // H)):
            seen = seen_tiles(x.mask, x.bias, rows, S, COLUMNS, x.q.dtype)
            block = partial(_call, head, rows, seen)
            yield from parallel_map(block, items) if shared else map(block, items)


def _call(head: Callable[..., Any], rows: slice, seen: list[Tile], item: tuple[Any, ...]) -> Any:
    return head(*item, rows, seen)


def _add_to(dbias: Any, b: int, heads: slice, tile: Tile, dscores: Any) -> None:
    """Add dscores (h, r, n) to its place in dbias, any of whose axes may be 1."""
    place = [slice(b, b + 1), heads, tile.rows, tile.keys]
    ones = [axis for axis in range(4) if dbias.shape[axis] == 1]
    for axis in ones:
        place[axis] = slice(0, 1)
    dbias[tuple(place)] += dscores[None].sum(axis=tuple(ones), keepdims=True)


def _rows(x: Any) -> Any:
    """Put the heads under one another: x (h, r, n) -> (h r, n)."""
    return x.reshape(-1, x.shape[-1])
