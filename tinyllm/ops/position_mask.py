"""A mask that is a rule: who may attend to whom follows from positions, when a tile needs it."""

from dataclasses import dataclass
from math import inf
from typing import Any

from tinyllm.backend import Array, Backend
from tinyllm.ops.alibi import alibi_bias
from tinyllm.ops.attention import attention_mask

EVERYTHING = slice(None)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PositionMask:
    """What `attention_mask` says of the same arguments, without the (T, S) array.

    `queries` (T,) or (B, T) and `keys` (S,) or (B, S) are positions in the text, in tokens, on the
    host; padding is negative. With `slopes` (H,) scores also fall with the distance: see
    `tinyllm.ops.alibi`.
    """

    queries: Any
    keys: Any
    causal: bool = True
    window: int | None = None
    slopes: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The two axes of the array that is not made, (T, S)."""
        return self.queries.shape[-1], self.keys.shape[-1]

    def hides(self, xp: Backend, i: slice, j: slice) -> bool:
        """Say whether no query of rows i sees any key of columns j.

        It looks at the first and the last position only, which settles every tile of a text in
        order; False where they leave it open.
        """
        nearest, farthest = self._distances(i, j)
        least, most = self._limits()
        return farthest < least or nearest >= most

    def shows_all(self, i: slice = EVERYTHING, j: slice = EVERYTHING) -> bool:
        """Say whether every query of rows i sees every key of columns j."""
        nearest, farthest = self._distances(i, j)
        least, most = self._limits()
        return least <= nearest and farthest < most and bool((self.keys[..., j] >= 0).all())

    def tile(self, xp: Backend, i: slice, j: slice) -> Array | None:
        """Return rows i and columns j of the mask: bool, or floats to add; None where all see all.

        () -> mask (T, S), or (B, 1, T, S) for positions (B, ·); with slopes H takes the place of 1
        """
        if self.slopes is None and self.shows_all(i, j):
            return None
        queries, keys = (
            xp.asarray(x if x.ndim == 1 else x[:, None, :])
            for x in (self.queries[..., i], self.keys[..., j])
        )
        visible = attention_mask(xp, queries, keys, causal=self.causal, window=self.window)
        if self.slopes is None:
            return visible
        bias = alibi_bias(xp, queries[..., :, None] - keys[..., None, :], self.slopes)
        return xp.where(visible, bias, xp.asarray(-xp.inf, dtype=bias.dtype))

    def _distances(self, i: slice, j: slice) -> tuple[float, float]:
        """The least and the greatest of query - key in a tile, padding aside; (∞, -∞) if none."""
        queries, keys = self.queries[..., i], self.keys[..., j]
        keys = keys[keys >= 0]
        if not (queries.size and keys.size):
            return inf, -inf
        return queries.min() - keys.max(), queries.max() - keys.min()

    def _limits(self) -> tuple[float, float]:
        """A key is seen where least ≤ query - key < most."""
        return 0 if self.causal else -inf, inf if self.window is None else self.window
