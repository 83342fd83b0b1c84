"""The log-probability that a model gives to each token of some texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tinyllm.backend import Array, Backend
from tinyllm.models.architecture import Config, architecture, require_use
from tinyllm.ops.losses import IGNORED
from tinyllm.ops.softmax import log_softmax_forward
from tinyllm.tokenizers import Tokenizer

LOGITS = 2**21  # that are there at once
BATCH = 2048  # tokens, with padding
TOGETHER = 8  # batches between two reports


class Scorer(Protocol):
    """What evaluation needs of a `tinyllm.Model`."""

    config: Config
    xp: Backend
    tokenizer: Tokenizer | None

    def logprobs(self, tokens: Any, targets: Any) -> Any:
        """Return the log-probability of each target, tokens (B, T), targets (B, T) -> (B, T)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Tokens that a model reads at once, and how many of the last it is judged by."""

    tokens: Sequence[int]
    scored: int  # at most all but the first, which has nothing before it
    n_bytes: int = 0  # of text that the scored tokens stand for


def score_windows(
    model: Scorer, windows: Sequence[Window], report: Callable[[str], None] = lambda line: None
) -> list[Any]:
    """Return the log-probabilities, in nats, of the scored tokens of each window.

    windows of T tokens -> arrays of (scored,), float64

    Windows are batched with others of about their length; what stands on the right of a token does
    not change its score, so the shorter are padded there. `report` hears how far it is.
    """
    require_use(model.config, "generate")
    batches = _batches(model, windows)
    scores: list[Any] = [np.zeros(0) for _ in windows]
    total, done = sum(window.scored for window in windows), 0

    def score(batch: Sequence[int]) -> list[Any]:
        longest = max(len(windows[i].tokens) for i in batch)
        tokens = np.zeros((len(batch), longest), np.int64)  # padding may be any token
        targets = np.full((len(batch), longest - 1), IGNORED)
        for row, i in enumerate(batch):
            ids = windows[i].tokens
            tokens[row, : len(ids)] = ids
            targets[row, _places(windows[i])] = ids[len(ids) - windows[i].scored :]
        found = model.logprobs(tokens[:, :-1], targets)
        return [found[row, _places(windows[i])] for row, i in enumerate(batch)]

    for first in range(0, len(batches), TOGETHER):
        part = batches[first : first + TOGETHER]
        for batch, found in zip(part, model.xp.parallel_map(score, part), strict=True):
            for i, of_window in zip(batch, found, strict=True):
                scores[i] = of_window
                done += len(of_window)
        report(f"scored {done:,} of {total:,} tokens")
    return scores


def _places(window: Window) -> slice:
    """Where the scored tokens are predicted: each by the token before it."""
    end = len(window.tokens) - 1
    return slice(end - window.scored, end)


def _batches(model: Scorer, windows: Sequence[Window]) -> list[list[int]]:
    """Put windows of about equal length together; of exactly equal length where that matters."""
    stays = architecture(model.config).scores_stay(model.config)
    batches: list[list[int]] = []
    longest = 0
    judged = [i for i, window in enumerate(windows) if window.scored]
    for i in sorted(judged, key=lambda i: -len(windows[i].tokens)):
        length = len(windows[i].tokens)
        fits = bool(batches) and (len(batches[-1]) + 1) * longest <= BATCH
        if fits and (stays or length == longest):
            batches[-1].append(i)
        else:
            batches.append([i])
            longest = length
    return batches


def target_logprobs(
    xp: Backend, hidden: Array, targets: Any, head: Callable[[Array], Array], vocab_size: int
) -> Any:
    """Look up log softmax(head(hidden)) at the targets, a block of rows at a time.

    hidden (B, T, D), targets (B, T) -> (B, T), both of the latter on the host

    The logits of a large vocabulary would take hundreds of times the memory of `hidden`. A target
    that is not counted takes no work, and gives 0.
    """
    flat = xp.reshape(hidden, (-1, hidden.shape[-1]))
    places = np.flatnonzero(targets != IGNORED)
    wanted = np.reshape(targets, -1)[places]

    found = np.zeros(targets.size)
    size = max(1, LOGITS // vocab_size)
    for start in range(0, len(places), size):
        rows, ids = places[start : start + size], wanted[start : start + size]
        logits = head(xp.take(flat, xp.asarray(rows), axis=0))
        log_probs, _ = log_softmax_forward(xp, logits)  # (rows, V)
        at = xp.asarray(np.arange(len(rows)) * vocab_size + ids)
        found[rows] = xp.to_numpy(xp.take(xp.reshape(log_probs, (-1,)), at, axis=0))
    return np.reshape(found, targets.shape)
