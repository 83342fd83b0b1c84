"""From a source text to a target text, by a model that has an encoder and a decoder.

What the decoder reads of the source is made once. Beams of one source share it, and each keeps the
keys and values of its own beginning, which go along when the search reorders its beams.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Backend
from tinyllm.errors import UsageError
from tinyllm.inference.beam import Hypothesis, beam_search
from tinyllm.inference.kv_cache import KVCache
from tinyllm.inference.sampling import check_range
from tinyllm.models.seq2seq import scores_forward, source_forward, target_states
from tinyllm.models.seq2seq_config import Seq2SeqConfig
from tinyllm.models.stack import Source, cached_in


@dataclass(frozen=True, kw_only=True, slots=True)
class Translation:
    """A target text: its tokens without the one that ended it, and how likely it is."""

    text: str
    tokens: list[int]
    logprob: float  # nats: Σ log p
    score: float  # logprob / length penalty
    finish_reason: str  # stop or length


class TargetReader:
    """The decoder, as far as it has read the targets of one source: a row for each beam."""

    def __init__(
        self,
        xp: Backend,
        p: dict[str, Any],
        config: Seq2SeqConfig,
        source: Sequence[int],
        *,
        capacity: int,
    ) -> None:
        """Read the source; make room for `capacity` tokens. `p` is the parameter tree."""
        self._xp, self._p, self._config = xp, p, config
        self._source, _, _ = source_forward(xp, xp.asarray(np.array([list(source)])), p, config)
        self._kv = KVCache(
            xp, config.decoder, batch=1, capacity=capacity, dtype=cached_in(xp, _decoder(p))
        )

    def read(self, tokens: Any) -> Any:
        """Score what follows tokens that come behind those that were read.

        tokens (n, T) -> logits (n, T, V), in NumPy
        """
        hidden = target_states(
            self._xp, self._xp.asarray(tokens), self._source, self._p, self._config, kv=self._kv
        )
        logits, _ = scores_forward(self._xp, hidden, self._p, self._config)
        return self._xp.to_numpy(logits)

    def reorder(self, rows: Any) -> None:
        """Go on with these rows of those there are, in this order: one may go on more than once."""
        self._kv.reorder(rows)
        keys, mask = self._source
        if len(rows) != keys[0][0].shape[0]:  # all rows are alike
            ids = self._xp.asarray(np.zeros(len(rows), np.int64))
            take = self._xp.take
            pairs = [(take(k, ids, axis=0), take(v, ids, axis=0)) for k, v in keys]
            self._source = Source(pairs, mask)


def translate_ids(
    xp: Backend,
    p: dict[str, Any],
    config: Seq2SeqConfig,
    source: Sequence[int],
    *,
    beams: int = 4,
    alpha: float = 0.6,
    max_tokens: int,
    stop_tokens: Collection[int],
    allowed: int | None = None,
) -> list[Hypothesis]:
    """Return the likeliest targets of a source, the best first: see `beam_search`.

    Beams and α are those of Vaswani et al. 2017 (arXiv:1706.03762), section 6.1. Ids from `allowed`
    on are not chosen, and padding never is. Raises UsageError for a source that the model cannot
    read.
    """
    if not 0 < len(source) <= config.encoder.max_seq_len:
        raise UsageError(
            f"the text has {len(source)} tokens; this model reads 1 to {config.encoder.max_seq_len}"
        )
    check_range("max_tokens", max_tokens, max_tokens >= 1, "at least 1")
    room = min(max_tokens, config.decoder.max_seq_len)
    reader = TargetReader(xp, p, config, source, capacity=room)
    hidden = [*range(config.vocab_size if allowed is None else allowed, config.vocab_size)]
    if config.pad_id is not None and config.pad_id not in stop_tokens:
        hidden.append(config.pad_id)

    def scored(tokens: Any) -> Any:
        logits = reader.read(tokens)[:, -1, :].copy()
        logits[:, hidden] = -np.inf
        return logits

    def step(parents: Any, tokens: Any) -> Any:
        reader.reorder(parents)
        return scored(tokens[:, None])

    return beam_search(
        scored(np.array([[config.start_id]]))[0], step,
        beams=beams, max_tokens=room, stop_tokens=stop_tokens, alpha=alpha,
    )  # fmt: skip


def _decoder(p: dict[str, Any]) -> dict[str, Any]:
    return {"model": p["model"]["decoder"]}
