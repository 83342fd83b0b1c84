"""Read tokens, and keep of them what the tokens that follow will need: by the kind of model.

reader = make_reader(xp, p, config, batch=1, capacity=100)
hidden = reader.read(tokens)        the prompt
hidden = reader.read(next_token)    whatever comes after it
"""

from collections.abc import Callable
from typing import Any, Protocol

from tinyllm.backend import Array, Backend
from tinyllm.inference.kv_cache import make_cache
from tinyllm.inference.prefill import prefill
from tinyllm.models.architecture import Config
from tinyllm.models.config import DecoderConfig
from tinyllm.models.decoder import hidden_states


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
        dtype = p["model"]["norm"]["weight"].dtype
        self._kv = make_cache(
            xp, config, batch=batch, capacity=capacity, dtype=dtype, padding=padding
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


_READERS: dict[type, Callable[..., Reader]] = {DecoderConfig: DecoderReader}


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
