"""Which keys a block of queries meets, tile by tile, and what is added to their scores."""

from typing import Any, NamedTuple

import numpy as np

from tinyllm.ops.flash_tiles import Mask, part, tiles

_XP: Any = np  # for a mask's own functions


class Added(NamedTuple):
    """What is added to a tile's scores: `values` (B, H, r, n), for a run of n of its keys.

    Where a mask is of truths, -inf or 0: adding is faster than choosing, and most keys of a causal
    tile are seen by all its queries. Any axis may be 1.
    """

    run: slice
    values: Any

    def of(self, text: int, heads: slice) -> "Added":
        """Return the part of one text and some heads, (h, r, n)."""
        B, H = self.values.shape[:2]
        return Added(self.run, self.values[text if B > 1 else 0, heads if H > 1 else slice(None)])


class Tile(NamedTuple):
    """The scores between some rows, which are queries, and some keys."""

    rows: slice
    keys: slice
    added: tuple[Added, ...]

    def of(self, text: int, heads: slice) -> "Tile":
        """Return the tile as one text and some of its heads see it."""
        return self._replace(added=tuple(added.of(text, heads) for added in self.added))


def seen_tiles(
    mask: Mask | None, bias: Any, rows: slice, S: int, width: int, dtype: Any
) -> list[Tile]:
    """Cut S keys into tiles of `width`, as far as any query of these rows sees them.

    There is one tile at least: of a key that none of them sees, if there is no other.
    """
    found = []
    for keys in tiles(S, width):
        added: tuple[Added, ...] = ()
        if mask is not None:
            if mask.hides(_XP, rows, keys):
                continue
            keys, added = _seen(mask.tile(_XP, rows, keys), keys, dtype)
        if bias is not None:
            added = (*added, Added(slice(None), four_axes(bias[part(bias, rows, keys)])))
        if keys.start < keys.stop:
            found.append(Tile(rows, keys, added))
    return found or [Tile(rows, slice(0, 1), (Added(slice(0, 1), np.full((1,) * 4, -np.inf)),))]


def _seen(mask: Any, keys: slice, dtype: Any) -> tuple[slice, tuple[Added, ...]]:
    """Narrow the keys to those from the first to the last that is seen, and say what hides some."""
    if mask is None:
        return keys, ()
    mask = four_axes(mask)
    mask = np.broadcast_to(mask, (*mask.shape[:3], keys.stop - keys.start))
    first, last = _ends(mask.any(axis=(0, 1, 2)) if mask.dtype == bool else _finite(mask))
    keys, mask = slice(keys.start + first, keys.start + last), mask[..., first:last]
    if mask.dtype != bool:
        return keys, (Added(slice(None), mask),)
    first, last = _ends(~mask.all(axis=(0, 1, 2)))
    if first == last:
        return keys, ()
    values = np.where(mask[..., first:last], 0.0, -np.inf).astype(dtype)
    return keys, (Added(slice(first, last), values),)


def _finite(mask: Any) -> Any:
    return (mask > -np.inf).any(axis=(0, 1, 2))


def _ends(which: Any) -> tuple[int, int]:
    """Return where the True begin and end; 0 and 0 if there are none."""
    places = np.flatnonzero(which)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def four_axes(x: Any) -> Any:
    """Give a mask or a bias (..., T, S) the axes of texts and heads that it lacks, 1 each."""
    return x.reshape((1,) * (4 - x.ndim) + x.shape)
