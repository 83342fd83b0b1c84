"""Attention on a GPU: by kernels where these take the arrays and the mask, else in tiles.

Kernels know which keys a query sees as a band of distances; a rule of positions is one where both
texts stand in order. What is left is for `tinyllm.ops.flash`, as is a bias, which kernels do not
know: still in tiles, large ones, for a tile is a dozen launches.
"""

from math import prod
from typing import Any, NamedTuple

import cupy as cp
import numpy as np

import tinyllm_cupy
from tinyllm.errors import UsageError
from tinyllm.ops.flash import flash_attention_backward, flash_attention_forward
from tinyllm.ops.flash_tiles import Mask, as_mask
from tinyllm.ops.position_mask import PositionMask
from tinyllm_cuda.attention import FAR, Band, flash_backward, flash_forward
from tinyllm_cuda.tiers import choose
from tinyllm_cupy.device import device
from tinyllm_cupy.products import NARROW

_XP: Any = tinyllm_cupy  # for the portable form
SCORES = 2**26  # of a tile of the portable form, over all texts and heads: 256 MB in float32


class Attended(NamedTuple):
    """What the forward pass keeps: what kernels read, or what `tinyllm.ops.flash` saved."""

    dtypes: tuple[Any, Any, Any]  # of q, k and v as they were given
    kernels: tuple[Any, Any, Any, Any, Any, Band] | None  # q, k, v, o, lse and the band
    portable: Any = None


def attention_forward(
    q: Any,
    k: Any,
    v: Any,
    bias: Any = None,
    /,
    *,
    mask: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[Any, Attended]:
    """Mix values by how well queries match keys: `tinyllm.ops.attention`, and its arguments.

    q (B, H, T, d), k (B, K, S, d), v (B, K, S, e), bias (..., T, S) -> o (B, H, T, e)

    Queries are rounded to 16 bits where the keys, of a cache, have as many; o has q's dtype. Scores
    and sums are float32, or float64 where q is. Raises UsageError for arrays of another library.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, cp.ndarray):
            raise UsageError(f"{name} is a {type(x).__module__} array, expected one of cupy")
    dtypes, rule = (q.dtype, k.dtype, v.dtype), as_mask(mask)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    band = None if bias is not None else _band(rule, q.shape[1], scale, softcap)
    kind = _kind(q, k, v, band)
    q, k, v = (x.astype(kind, copy=False) for x in (q, k, v))
    if band is None or _tier(q, v) is None:
        tile = _tile(q, k)
        options: dict[str, Any] = {"mask": rule, "scale": scale, "softcap": softcap, "tile": tile}
        o, saved = flash_attention_forward(_XP, q, k, v, bias, **options)
        return o.astype(dtypes[0], copy=False), Attended(dtypes, None, saved)
    q, k, v = map(cp.ascontiguousarray, (q, k, v))
    o, lse = flash_forward(device(), q, k, v, band)
    return o.astype(dtypes[0], copy=False), Attended(dtypes, (q, k, v, o, lse, band))


def attention_backward(dy: Any, saved: Attended, /) -> tuple[Any, Any, Any, Any]:
    """Return the gradients of `attention_forward`: dq, dk and dv in their dtypes, and dbias."""
    if saved.kernels is None:
        dy = dy.astype(saved.portable.o.dtype, copy=False)
        *grads, dbias = flash_attention_backward(_XP, dy, saved.portable)
    else:
        q, k, v, o, lse, band = saved.kernels
        do = cp.ascontiguousarray(dy.astype(o.dtype, copy=False))
        grads, dbias = list(flash_backward(device(), do, q, k, v, o, lse, band)), None
    dq, dk, dv = (x.astype(t, copy=False) for x, t in zip(grads, saved.dtypes, strict=True))
    return dq, dk, dv, dbias


def _kind(q: Any, k: Any, v: Any, band: Band | None) -> Any:
    """Return the dtype to compute in: 16 bits where keys have so few and a kernel takes them."""
    if k.dtype not in NARROW:
        return q.dtype if q.dtype not in NARROW else np.dtype(np.float32)
    narrow = q.astype(k.dtype, copy=False)
    fits = v.dtype == k.dtype and band is not None and _tier(narrow, v) is not None
    return k.dtype if fits else np.dtype(np.float32)


def _tier(q: Any, v: Any) -> str | None:
    """Name the kernels that take such arrays; None where there are none."""
    same = q.shape[-1] == v.shape[-1]
    return choose(device(), q.dtype, q.shape[-1]) if same else None


def _band(rule: Mask | None, H: int, scale: float, softcap: float | None) -> Band | None:
    """Say a mask as a band of distances, if it is one."""
    options: dict[str, Any] = {"scale": scale, "softcap": softcap or 0.0}
    if rule is None:
        return Band(**options)
    if not isinstance(rule, PositionMask):
        return None
    if rule.slopes is None and rule.shows_all():
        return Band(**options)
    queries, keys = rule.queries, rule.keys
    if not (_in_order(queries) and _in_order(keys) and keys[0] >= 0):
        return None
    if rule.slopes is not None:
        slopes = cp.broadcast_to(cp.asarray(rule.slopes, dtype=np.float32), (H,))
        options["slopes"] = cp.ascontiguousarray(slopes)
    return Band(
        offset=int(queries[0] - keys[0]), least=0 if rule.causal else -FAR,
        most=FAR if rule.window is None else rule.window, **options,
    )  # fmt: skip


def _in_order(positions: Any) -> bool:
    """Say whether a text's positions, on the host, are p, p + 1, p + 2 …"""
    return positions.ndim == 1 and positions.size > 0 and bool((np.diff(positions) == 1).all())


def _tile(q: Any, k: Any) -> tuple[int, int]:
    """Return how many rows and columns the portable form takes at once."""
    heads, T, S = prod(q.shape[:2]), q.shape[2], k.shape[2]
    columns = min(max(1, S), max(128, SCORES // max(1, heads * min(T, 1024))))
    return min(max(1, T), max(128, SCORES // max(1, heads * columns))), columns
