"""A batch of texts on their way through a decoder: prompts in, then one token a row at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyllm.backend import Backend
from tinyllm.inference.kv_cache import make_cache
from tinyllm.inference.prefill import prefill
from tinyllm.models.config import DecoderConfig
from tinyllm.models.decoder import head_forward, hidden_states


class Session:
    """Scores the next token of every row, as (B, V) NumPy arrays."""

    def __init__(
        self,
        xp: Backend,
        p: dict[str, Any],
        config: DecoderConfig,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
    ) -> None:
        """Make room for `max_tokens` after the longest prompt. `p` is the parameter tree."""
        self._xp, self._p, self._config = xp, p, config
        longest = max(map(len, prompts))
        padding = np.array([longest - len(prompt) for prompt in prompts])
        self._tokens = np.zeros((len(prompts), longest), np.int64)  # padding may be any token
        for row, prompt in enumerate(prompts):
            self._tokens[row, padding[row] :] = prompt
        self._kv = make_cache(
            xp,
            config,
            batch=len(prompts),
            capacity=longest + max_tokens,
            dtype=p["model"]["norm"]["weight"].dtype,
            padding=padding,
        )

    def resume(self, earlier: "Session", tokens: int) -> int:
        """Take over the first `tokens` keys and values of `earlier`; return how many it had.

        Both have one row, and `tokens` must be those that both begin with. A rolling cache that
        went round has lost its first columns, and serves only to go on where it stands.
        """
        ours, theirs = self._kv, earlier._kv
        kept = min(tokens, theirs.length)
        whole = kept == theirs.length and ours.capacity == theirs.capacity
        if theirs.length > theirs.capacity and not whole:
            return 0
        columns = min(kept, theirs.capacity)
        for new, old in zip(ours.keys + ours.values, theirs.keys + theirs.values, strict=True):
            new[:, :, :columns, :] = old[:, :, :columns, :]
        ours.advance(kept)
        self._tokens = self._tokens[:, kept:]
        return kept

    def prefill(self) -> Any:
        """Run the prompts."""
        return self._score(prefill(self._xp, self._tokens, self._p, self._config, self._kv))

    def step(self, tokens: Sequence[int]) -> Any:
        """Append one token to each row."""
        xp, column = self._xp, np.asarray(tokens, np.int64)[:, None]
        return self._score(
            hidden_states(xp, xp.asarray(column), self._p, self._config, kv=self._kv)
        )

    def _score(self, hidden: Any) -> Any:
        logits, _ = head_forward(self._xp, hidden[:, -1, :], self._p)
        return self._xp.to_numpy(logits)


class UncachedSession:
    """The same scores with every token computed anew: slow, and plain to see through."""

    def __init__(
        self,
        xp: Backend,
        p: dict[str, Any],
        config: DecoderConfig,
        prompts: Sequence[Sequence[int]],
    ) -> None:
        """`p` is the parameter tree."""
        self._xp, self._p, self._config = xp, p, config
        self._rows = [list(prompt) for prompt in prompts]

    def resume(self, earlier: "UncachedSession", tokens: int) -> int:
        """Take over nothing, for nothing is kept."""
        return 0

    def prefill(self) -> Any:
        """Run every row by itself, from its first token."""
        xp = self._xp
        scores = []
        for row in self._rows:
            hidden = hidden_states(xp, xp.asarray(np.array([row])), self._p, self._config)
            scores.append(xp.to_numpy(head_forward(xp, hidden[:, -1, :], self._p)[0]))
        return np.concatenate(scores)

    def step(self, tokens: Sequence[int]) -> Any:
        """Append one token to each row."""
        for row, token in zip(self._rows, tokens, strict=True):
            row.append(token)
        return self.prefill()
