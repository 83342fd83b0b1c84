"""The keys and values of the tokens seen so far, so that no token is computed twice.

A cache counts columns: column c holds the c-th token of every row of the batch. Rows that are
shorter than the longest start with padding, so the token in column c of a row stands at position
c - padding, and padding itself at negative positions, which no query attends to.

Two kinds: `KVCache` keeps every column; `RollingKVCache` keeps as many as a sliding window sees.
Positions come from the cache alone: prefill and decoding run the same code.
"""

from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend
from tinyllm.errors import UsageError
from tinyllm.models.config import StackConfig
from tinyllm.models.decoder_facts import kept_widths


class KVCache:
    """Room for `capacity` columns in every layer: keys and values (B, K, capacity, d)."""

    keeps_all = True  # whether columns stay where they are once written

    def __init__(
        self,
        xp: Backend,
        config: StackConfig,
        *,
        batch: int,
        capacity: int,
        dtype: Any,
        padding: Any = None,
    ) -> None:
        """`padding` (B,) is the number of padding columns at the start of each row."""
        layers = [kept_widths(config, i) for i in range(config.n_layers)]
        self.xp, self.capacity, self.length = xp, capacity, 0
        self.keys, self.values = (
            [xp.zeros((batch, heads, capacity, width), dtype=dtype) for heads, width in sizes]
            for sizes in (
                [(h, key) for h, key, _ in layers],
                [(h, value) for h, _, value in layers],
            )
        )
        self._padding = None if padding is None or not np.any(padding) else np.asarray(padding)

    def positions(self, T: int, offset: int = 0, /) -> tuple[Any, Any]:
        """Return the positions of T new tokens and of the keys that `append` will give for them.

        () -> queries (T,), keys (S,), or queries (B, T), keys (B, S) where rows are padded

        `offset` counts columns that are yet to be written before these.
        """
        queries = self.length + offset + np.arange(T)
        return self._shifted(queries), self._shifted(self._columns(offset + T))

    def layer(self, index: int, /) -> "CachedLayer":
        """Return the part of one layer, which takes its keys and values."""
        return CachedLayer(self, index)

    def append(self, index: int, k: Array, v: Array, offset: int = 0) -> tuple[Array, Array]:
        """Write T columns of layer `index`, `offset` columns further on; return all up to them.

        k (B, K, T, d), v (B, K, T, e) -> keys (B, K, S, d), values (B, K, S, e)

        Raises UsageError where they do not fit.
        """
        start = self.length + offset
        end = start + k.shape[2]
        self.require_room(end)
        keys, values = self.keys[index], self.values[index]
        keys[:, :, start:end, :] = k
        values[:, :, start:end, :] = v
        return keys[:, :, :end, :], values[:, :, :end, :]

    def require_room(self, columns: int) -> None:
        """Raise UsageError where so many columns do not fit."""
        if self.keeps_all and columns > self.capacity:
            raise UsageError(f"the KV cache has room for {self.capacity} tokens, not for {columns}")

    def advance(self, T: int, /) -> None:
        """Count T tokens as seen, once every layer has written them."""
        self.length += T

    def resume(self, earlier: "KVCache", tokens: int) -> int:
        """Take over the first `tokens` columns of another cache; return how many it had.

        Both have one row. A rolling cache that went round has lost its first columns, and serves
        only to go on where it stands.
        """
        kept = min(tokens, earlier.length)
        whole = kept == earlier.length and self.capacity == earlier.capacity
        if earlier.length > earlier.capacity and not whole:
            return 0
        columns = min(kept, earlier.capacity)
        theirs = earlier.keys + earlier.values
        for new, old in zip(self.keys + self.values, theirs, strict=True):
            new[:, :, :columns, :] = old[:, :, :columns, :]
        self.advance(kept)
        return kept

    def reorder(self, rows: Any) -> None:
        """Go on with these rows of those there are: beams, of which one may go on more than once.

        rows (n,)
        """
        ids = self.xp.asarray(rows)
        for kept in (self.keys, self.values):
            kept[:] = [self.xp.take(x, ids, axis=0) for x in kept]
        if self._padding is not None:
            self._padding = self._padding[rows]

    @property
    def padded(self) -> bool:
        """Whether some row starts with padding."""
        return self._padding is not None

    def _columns(self, T: int) -> Any:
        return np.arange(self.length + T)

    def _shifted(self, columns: Any) -> Any:
        return columns if self._padding is None else columns - self._padding[:, None]


class RollingKVCache(KVCache):
    """Room for the last w columns, column c in slot c mod w: enough for a window of w keys.

    Keys were rotated to their positions before they came here, so their order does not matter.
    Columns are written in order, without an offset.
    """

    keeps_all = False

    def append(self, index: int, k: Array, v: Array, offset: int = 0) -> tuple[Array, Array]:
        """Write T columns of layer `index`; return those that the new queries may see.

        k (B, K, T, d), v (B, K, T, d) -> keys (B, K, S, d), values (B, K, S, d)
        """
        T, filled = k.shape[2], min(self.length, self.capacity)
        if self._overwrites_only_what_nobody_sees(T):
            self._write(index, k, v)
            filled = min(self.length + T, self.capacity)
            return self.keys[index][:, :, :filled, :], self.values[index][:, :, :filled, :]
        xp, before = self.xp, (self.keys[index], self.values[index])
        keys = xp.concat([before[0][:, :, :filled, :], k], axis=2)
        values = xp.concat([before[1][:, :, :filled, :], v], axis=2)
        self._write(index, k, v)
        return keys, values

    def _overwrites_only_what_nobody_sees(self, T: int) -> bool:
        """The first of several new queries may see columns that the last of them replaces."""
        return T == 1 or self.length + T <= self.capacity

    def _write(self, index: int, k: Array, v: Array) -> None:
        """Write the last w of T columns to their slots, in runs up to the end of the ring."""
        T, w = k.shape[2], self.capacity
        start = max(0, T - w)
        while start < T:
            slot = (self.length + start) % w
            run = min(T - start, w - slot)
            self.keys[index][:, :, slot : slot + run, :] = k[:, :, start : start + run, :]
            self.values[index][:, :, slot : slot + run, :] = v[:, :, start : start + run, :]
            start += run

    def _columns(self, T: int) -> Any:
        if self._overwrites_only_what_nobody_sees(T):
            return self._newest_by_slot(self.length + T)
        return np.concatenate([self._newest_by_slot(self.length), self.length + np.arange(T)])

    def _newest_by_slot(self, length: int) -> Any:
        """The column that each slot holds once `length` columns are written."""
        slots = np.arange(min(length, self.capacity))
        return length - 1 - (length - 1 - slots) % self.capacity


class CachedLayer:
    """One layer of a cache, as `tinyllm.layers.attention` uses it."""

    def __init__(self, cache: KVCache, index: int) -> None:
        self._cache, self._index = cache, index

    def append(self, k: Array, v: Array, /) -> tuple[Array, Array]:
        """Keep the new keys and values; return all that the new queries may need."""
        return self._cache.append(self._index, k, v)


def make_cache(
    xp: Backend,
    config: StackConfig,
    *,
    batch: int,
    capacity: int,
    dtype: Any,
    padding: Any = None,
) -> KVCache:
    """Make a cache for `capacity` tokens: a rolling one where every layer has a shorter window."""
    widest = max(capacity if window is None else window for window in config.windows)
    kind, room = (RollingKVCache, widest) if widest < capacity else (KVCache, capacity)
    return kind(xp, config, batch=batch, capacity=room, dtype=dtype, padding=padding)
