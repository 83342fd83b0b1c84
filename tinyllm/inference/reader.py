"""Read tokens, and keep of them what the tokens that follow will need: by the kind of model.

reader = make_reader(xp, p, config, batch=1, capacity=100)
hidden = reader.read(tokens)        the prompt
hidden = reader.read(next_token)    whatever comes after it
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from tinyllm.backend import Array, Backend
from tinyllm.inference.decode import CompiledReader, compiled_reader
from tinyllm.inference.kv_cache import make_cache
from tinyllm.inference.prefill import CHUNK, prefill
from tinyllm.models.architecture import Config
from tinyllm.models.config import DecoderConfig
from tinyllm.models.recurrent import first_state, hidden_and_state
from tinyllm.models.recurrent_config import RecurrentConfig
from tinyllm.models.stack import cached_in, hidden_states


class Reader(Protocol):
    """A batch of texts as far as they were read."""

    def read(self, tokens: Any, /) -> Array:
        """Run all but the head on tokens that come after those that were read.

        tokens (B, T) -> hidden (B, T, D)
        """
        ...

    def resume(self, earlier: Any, tokens: int, /) -> int:
        """Take over the first `tokens` tokens of another reader; return how many it had.

        Both have one row, and `tokens` must be those that both begin with.
        """
        ...

    def compiled(self) -> CompiledReader | None:
        """Return what reads on by kernels of the backend's own; None where it has none for this."""
        ...


class DecoderReader:
    """Keeps keys and values."""

    def __init__(
        self,
        xp: Backend,
        p: dict[str, Any],
        config: DecoderConfig,
        *,
        batch: int,
        capacity: int,
        padding: Any = None,
    ) -> None:
        """Make an empty cache."""
        self._xp, self._p, self._config = xp, p, config
        self._kv = make_cache(
            xp, config, batch=batch, capacity=capacity, dtype=cached_in(xp, p), padding=padding
        )

    def read(self, tokens: Any, /) -> Array:
        """Run a prompt in chunks, and one token a row at once."""
        xp = self._xp
        if tokens.shape[1] == 1:
            return hidden_states(xp, xp.asarray(tokens), self._p, self._config, kv=self._kv)
        return prefill(xp, tokens, self._p, self._config, self._kv)

    def resume(self, earlier: "DecoderReader", tokens: int, /) -> int:
        """Take over the first keys and values, as far as they are still there."""
        return self._kv.resume(earlier._kv, tokens)

    def compiled(self) -> CompiledReader | None:
        """Read on from this cache, which counts on; do not call `read` between its calls."""
        return compiled_reader(self._xp, self._p, self._config, self._kv)


class RecurrentReader:
    """Keeps the state, which is as large after a million tokens as after one."""

    def __init__(
        self,
        xp: Backend,
        p: dict[str, Any],
        config: RecurrentConfig,
        *,
        batch: int,
        capacity: int,
        padding: Any = None,
    ) -> None:
        """Begin with the state before the first token; there is room for any number of them."""
        self._xp, self._p, self._config = xp, p, config
        self._state = first_state(xp, p, config, batch=batch)
        self._begins = np.zeros(batch, np.int64) if padding is None else np.asarray(padding)
        self._length = 0

    def read(self, tokens: Any, /) -> Array:
        """Run a piece at a time: a text begins with a piece, and none is longer than a chunk."""
        T, xp, parts = tokens.shape[1], self._xp, []
        begins = set((self._begins - self._length).tolist()) & set(range(T))
        for start, end in pairwise(sorted({*range(0, T, CHUNK), *begins, 0, T}) if T else [0, 0]):
            self._forget_padding()
            piece = xp.asarray(tokens[:, start:end])
            hidden, self._state = hidden_and_state(xp, piece, self._p, self._config, self._state)
            self._length += end - start
            parts.append(hidden)
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)

    def resume(self, earlier: "RecurrentReader", tokens: int, /) -> int:
        """Take over the state, if it is one of these tokens: nothing can be taken out of it."""
        if earlier._length > tokens:
            return 0
        self._state, self._length = earlier._state, earlier._length
        return self._length

    def compiled(self) -> None:
        """No backend has kernels for a recurrent model's step."""

    def _forget_padding(self) -> None:
        """Give rows whose text begins here the state of a beginning."""
        begins = self._begins == self._length
        if self._length and begins.any():
            goes_on = self._xp.asarray(~begins)[:, None]
            self._state = [self._xp.where(goes_on, s, self._xp.zeros_like(s)) for s in self._state]


_READERS: dict[type, Callable[..., Reader]] = {
    DecoderConfig: DecoderReader,
    RecurrentConfig: RecurrentReader,
}


def make_reader(
    xp: Backend,
    p: dict[str, Any],
    config: Config,
    *,
    batch: int,
    capacity: int,
    padding: Any = None,
) -> Reader:
    """Make a reader with room for `capacity` tokens in each of `batch` rows.

    `p` is the parameter tree, packed or not. `padding` (B,) is how many tokens at the start of each
    row are none.
    """
    kind = _READERS[type(config)]
    return kind(xp, p, config, batch=batch, capacity=capacity, padding=padding)
