"""What FlashAttention knows of a tile: some queries, some keys, and the scores between them.

A tile is a pair of slices: the rows i, which are queries, and the columns j, which are keys. The
G = H/K query heads that share a key head have an axis of their own, along which keys and values
broadcast: (B, K, G, T, d) meets (B, K, 1, S, d).
"""

from typing import Any, NamedTuple, Protocol

from tinyllm.backend import Array, Backend
from tinyllm.errors import UsageError


class Mask(Protocol):
    """A mask that can be asked for a tile: an array's, or `tinyllm.ops.position_mask`'s."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The last two axes are T and S, or 1."""
        ...

    def hides(self, xp: Backend, i: slice, j: slice) -> bool:
        """Say whether the tile can be skipped: none of its queries sees any of its keys."""
        ...

    def tile(self, xp: Backend, i: slice, j: slice) -> Array | None:
        """Return the tile, which broadcasts against (B, H, T, S); None where all see all."""
        ...


class ArrayMask(NamedTuple):
    """A mask that somebody made whole: bool (..., T, S), or floats to add."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.array.shape

    def hides(self, xp: Backend, i: slice, j: slice) -> bool:
        """Look whether nothing in the tile is True, or more than -inf."""
        tile = self.array[part(self.array, i, j)]
        return not bool(xp.any(tile if tile.dtype == xp.bool else tile > -xp.inf))

    def tile(self, xp: Backend, i: slice, j: slice) -> Array:
        """Cut the tile out."""
        return self.array[part(self.array, i, j)]


class Operands(NamedTuple):
    """The arguments of attention, by groups of heads.

    q (B, K, G, T, d), k (B, K, 1, S, d), v (B, K, 1, S, e), bias (B, K, G, T, S), of which any axis
    may be 1; `bias_shape` is the one it came in.
    """

    q: Array
    k: Array
    v: Array
    bias: Array | None
    bias_shape: tuple[int, ...]
    mask: Mask | None
    scale: float
    softcap: float | None
    tile: tuple[int, int]  # B_r rows and B_c columns

    def rows(self) -> list[slice]:
        """The tiles of the queries."""
        return tiles(self.q.shape[-2], self.tile[0])

    def columns(self) -> list[slice]:
        """The tiles of the keys."""
        return tiles(self.k.shape[-2], self.tile[1])

    def hidden(self, xp: Backend, i: slice, j: slice) -> bool:
        """Say whether a tile would add nothing."""
        return self.mask is not None and self.mask.hides(xp, i, j)


def operands(
    xp: Backend,
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None,
    *,
    mask: Array | Mask | None,
    scale: float | None,
    softcap: float | None,
    tile: tuple[int, int],
) -> Operands:
    """Sort attention's arguments by groups of heads.

    Raises UsageError where a tile is empty, or a mask or a bias is of other sizes than T and S:
    cut into tiles, a longer one would not be noticed.
    """
    B, H, T, d = q.shape
    K, S, e = k.shape[1], k.shape[2], v.shape[3]
    if min(tile) < 1:
        raise UsageError(f"the tile is {tile}, expected at least 1 row and 1 column")
    mask = as_mask(mask)
    for name, x in (("bias", bias), ("mask", mask)):
        if x is not None and not (x.shape[-2] in (1, T) and x.shape[-1] in (1, S)):
            raise UsageError(f"the {name} is for {x.shape[-2:]} queries and keys, not {(T, S)}")
    return Operands(
        q=xp.reshape(q, (B, K, H // K, T, d)),
        k=xp.reshape(k, (B, K, 1, S, d)),
        v=xp.reshape(v, (B, K, 1, S, e)),
        bias=None if bias is None else by_group(xp, bias, K),
        bias_shape=() if bias is None else bias.shape,
        mask=mask,
        scale=d**-0.5 if scale is None else scale,
        softcap=softcap,
        tile=tile,
    )


def as_mask(mask: Array | Mask | None) -> Mask | None:
    """Return a mask that can be asked for a tile; an array is wrapped."""
    return mask if mask is None or hasattr(mask, "hides") else ArrayMask(mask)


def tiles(n: int, size: int) -> list[slice]:
    """Cut n rows into slices of `size`; the last may be smaller."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def tile_scores(xp: Backend, x: Operands, i: slice, j: slice) -> tuple[Array, Array | None]:
    """Return S_ij, capped, biased and masked, and tanh(S_ij / c) where there is a soft cap.

    () -> scores (B, K, G, r, n), capped (B, K, G, r, n)
    """
    scores = x.scale * xp.matmul(x.q[..., i, :], transpose(xp, x.k[..., j, :]))
    capped = None
    if x.softcap is not None:
        capped = xp.tanh(scores / x.softcap)
        scores = x.softcap * capped
    if x.bias is not None:
        scores = scores + x.bias[part(x.bias, i, j)]
    mask = None if x.mask is None else x.mask.tile(xp, i, j)
    if mask is not None:
        mask = by_group(xp, mask, x.k.shape[1])
        hidden = xp.asarray(-xp.inf, dtype=scores.dtype)
        scores = xp.where(mask, scores, hidden) if mask.dtype == xp.bool else scores + mask
    return scores, capped


def by_group(xp: Backend, x: Array, K: int) -> Array:
    """Split the axis of heads, (..., H, T, S) or less, into (B, K, G, T, S); B and H may be 1."""
    B, H, T, S = (1,) * (4 - x.ndim) + tuple(x.shape)
    return xp.reshape(x, (B, 1, 1, T, S) if H == 1 else (B, K, H // K, T, S))


def part(x: Array, i: slice, j: slice) -> tuple[Any, ...]:
    """Index rows i and columns j of an array (..., T, S) whose axes may be 1."""
    everything = slice(None)
    return ..., i if x.shape[-2] > 1 else everything, j if x.shape[-1] > 1 else everything


def transpose(xp: Backend, x: Array) -> Array:
    """Swap the last two of five axes."""
    return xp.permute_dims(x, (0, 1, 2, 4, 3))


def finite(xp: Backend, x: Array) -> Array:
    """Put 0 for -inf, the maximum of nothing, so that what is subtracted never makes a NaN."""
    return xp.where(x == -xp.inf, xp.zeros_like(x), x)
