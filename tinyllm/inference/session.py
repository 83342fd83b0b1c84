"""A batch of texts on their way through a model: prompts in, then one token a row at a time."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tinyllm.backend import Backend
from tinyllm.inference.decode import CompiledReader
from tinyllm.inference.reader import make_reader
from tinyllm.models.architecture import Config, architecture


class Session:
    """Scores the next token of every row, as (B, V) NumPy arrays."""

    def __init__(
        self,
        xp: Backend,
        p: dict[str, Any],
        config: Config,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
    ) -> None:
        """Make room for `max_tokens` after the longest prompt. `p` is the parameter tree."""
        self._xp, self._p, self._config = xp, p, config
        self._head = architecture(config).head
        longest = max(map(len, prompts))
        padding = np.array([longest - len(prompt) for prompt in prompts])
        self._tokens = np.zeros((len(prompts), longest), np.int64)  # padding may be any token
        for row, prompt in enumerate(prompts):
            self._tokens[row, padding[row] :] = prompt
        self._reader = make_reader(
            xp, p, config, batch=len(prompts), capacity=longest + max_tokens, padding=padding
        )

    def resume(self, earlier: "Session", tokens: int) -> int:
        """Take over what `earlier` kept of the first `tokens`; return how many it had.

        Both have one row, and `tokens` must be those that both begin with.
        """
        kept = self._reader.resume(earlier._reader, tokens)
        self._tokens = self._tokens[:, kept:]
        return kept

    def prefill(self) -> Any:
        """Run the prompts."""
        return self._score(self._tokens)

    def step(self, tokens: Sequence[int]) -> Any:
        """Append one token to each row."""
        if self.compiled is not None:
            return self._xp.to_numpy(self.compiled.logits(tokens[0]))[None]
        return self._score(np.asarray(tokens, np.int64)[:, None])

    @cached_property
    def compiled(self) -> CompiledReader | None:
        """What reads on by kernels of the backend's own, once the prompts are read; or None."""
        return self._reader.compiled()

    def _score(self, tokens: Any) -> Any:
        hidden = self._reader.read(tokens)
        logits, _ = self._head(self._xp, hidden[:, -1, :], self._p, self._config)
        return self._xp.to_numpy(logits)


class UncachedSession:
    """The same scores with every token computed anew: slow, and plain to see through."""

    compiled = None

    def __init__(
        self,
        xp: Backend,
        p: dict[str, Any],
        config: Config,
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
        xp, kind = self._xp, architecture(self._config)
        scores = []
        for row in self._rows:
            hidden = kind.hidden_states(xp, xp.asarray(np.array([row])), self._p, self._config)
            scores.append(xp.to_numpy(kind.head(xp, hidden[:, -1, :], self._p, self._config)[0]))
        return np.concatenate(scores)

    def step(self, tokens: Sequence[int]) -> Any:
        """Append one token to each row."""
        for row, token in zip(self._rows, tokens, strict=True):
            row.append(token)
        return self.prefill()
