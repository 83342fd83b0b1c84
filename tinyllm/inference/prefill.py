"""Read a prompt in chunks that follow one another through the layers, on several cores.

A chunk needs the keys and values of the chunk before it, layer by layer, and nothing else: while
one chunk is in layer i, the next can be in layer i - 1.
"""

from itertools import pairwise
from threading import Event
from typing import Any

from tinyllm.backend import Array, Backend
from tinyllm.inference.kv_cache import KVCache
from tinyllm.models.config import DecoderConfig
from tinyllm.models.stack import hidden_states

CHUNK = 256  # tokens, at the most: bounds the memory of activations
SPLIT = 64  # tokens from which on there are two chunks at least
GPU_CHUNK = 4096  # tokens: a GPU takes a chunk after another, and large ones fill it


def prefill(
    xp: Backend, tokens: Any, p: dict[str, Any], config: DecoderConfig, kv: KVCache
) -> Array:
    """Run all but the head on tokens that come after those that the cache has seen.

    tokens (B, T) -> hidden (B, T, D)
    """
    sizes = (GPU_CHUNK, GPU_CHUNK) if xp.name == "cupy" else (CHUNK, SPLIT)
    starts = _starts(tokens.shape[1], *sizes)
    follow = kv.keeps_all and len(starts) > 1
    finished = [[Event() for _ in range(config.n_layers)] for _ in starts]
    stop = Event()

    def run(index: int) -> Array:
        part = xp.asarray(tokens[:, slice(*starts[index])])
        cache = _Follower(kv, starts[index][0], finished, index, stop) if follow else kv
        try:
            return hidden_states(xp, part, p, config, kv=cache)
        finally:  # also where it failed, or the next would wait for ever
            for event in finished[index]:
                event.set()

    if follow:
        try:
            parts = xp.parallel_map(run, range(len(starts)))
        except (
            BaseException
        ):  # Ctrl-C reaches this thread alone: stop the others at their next layer
            stop.set()
            raise
        kv.advance(tokens.shape[1])
    else:
        parts = [run(index) for index in range(len(starts))]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)


def _starts(T: int, chunk: int = CHUNK, split: int = SPLIT) -> list[tuple[int, int]]:
    """Cut T tokens into chunks of nearly equal length."""
    chunks = max(-(-T // chunk), 2 if split <= T else 1)
    cuts = [T * i // chunks for i in range(chunks + 1)]
    return list(pairwise(cuts))


class _Follower:
    """A cache as one chunk sees it: further on, and each layer once the chunk before has been."""

    def __init__(
        self, kv: KVCache, offset: int, finished: list[list[Event]], index: int, stop: Event
    ) -> None:
        self._kv, self._offset, self._stop = kv, offset, stop
        self._before = finished[index - 1] if index else None
        self._own = finished[index]
        self._layer = 0

    def positions(self, T: int, /) -> tuple[Any, Any]:
        return self._kv.positions(T, self._offset)

    def layer(self, index: int, /) -> "_Follower":
        self._layer = index
        return self

    def append(self, k: Array, v: Array, /) -> tuple[Array, Array]:
        if self._before is not None:
            self._before[self._layer].wait()
        if self._stop.is_set():
            raise InterruptedError("another chunk, or the whole, was stopped")
        keys_values = self._kv.append(self._layer, k, v, self._offset)
        self._own[self._layer].set()
        return keys_values

    def advance(self, T: int, /) -> None:
        """Leave the count of columns to the end, when all chunks are there."""
