"""Beam search: the likeliest text that can be found by following a few beginnings at a time.

Everything but the model happens on the host in float64, so that a search ends the same way on every
backend. Of equals the one with the earlier beam, and then the lower token, goes first.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.errors import TinyllmError
from tinyllm.inference.sampling import check_range

# (parents (n,), tokens (n,)) -> logits (n, V) of what follows: row i goes on from row parents[i] of
# the call before with tokens[i], so that state, such as a KV cache, is to be reordered by parents.
Step = Callable[[Any, Any], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis:
    """A text that the search found: its tokens, with the one that ended it, if any did."""

    tokens: tuple[int, ...]
    logprob: float  # nats: Σ log p
    score: float  # logprob / length penalty
    ended: bool


def length_penalty(length: int, alpha: float) -> float:
    """Return what log-probabilities of texts are divided by, so that lengths compare: ((5+n)/6)^α.

    `length` is in tokens. α = 0 compares sums, which favours short texts; the larger α, the longer
    what wins. Wu et al. 2016, "Google's neural machine translation system" (arXiv:1609.08144),
    eq. 14, without its coverage penalty.
    """
    return float(((5.0 + length) / 6.0) ** alpha)


def beam_search(
    logits: Any,
    step: Step,
    *,
    beams: int,
    max_tokens: int,
    stop_tokens: Collection[int] = (),
    alpha: float = 0.6,
    penalty: Callable[[int, float], float] = length_penalty,
) -> list[Hypothesis]:
    """Return the best continuations that were found, at most `beams`, the best first.

    Each step puts every token behind every beginning and keeps the likeliest `beams` of them. Those
    that end among these are put aside. The search is over when `beams` have ended and no beginning
    is ahead of any of these, by the score that it has so far; or at `max_tokens`, where beginnings
    compete with what has ended. `logits` (V,) are those after the prompt. With one beam this is
    greedy decoding; with as many as there are texts it misses none.
    Raises UsageError for a number out of its range, and TinyllmError where a score is NaN or no
    token may be chosen.
    """
    check_range("beams", beams, beams >= 1, "at least 1")
    check_range("max_tokens", max_tokens, max_tokens >= 1, "at least 1")
    check_range("alpha", alpha, 0.0 <= alpha < np.inf, "0 or more, and finite")
    texts: list[tuple[int, ...]] = [()]
    totals = np.zeros(1)
    found: list[Hypothesis] = []
    logits = np.asarray(logits)[None, :]
    for length in range(1, max_tokens + 1):
        divisor = penalty(length, alpha)
        scores = totals[:, None] + _log_probs(logits)  # (n, V)
        parents, tokens = _best(scores, beams * (1 + len(stop_tokens)))
        ends = np.isin(tokens, list(stop_tokens))
        last = length == max_tokens
        going = np.flatnonzero(~ends)[:beams]
        over = np.flatnonzero(ends[:beams])
        for i in np.union1d(over, going) if last else over:
            text, total = (*texts[parents[i]], int(tokens[i])), float(scores[parents[i], tokens[i]])
            found.append(
                Hypothesis(tokens=text, logprob=total, score=total / divisor, ended=bool(ends[i]))
            )
        found = sorted(found, key=lambda hypothesis: -hypothesis.score)[:beams]
        if last or not going.size:
            break
        first = float(scores[parents[going[0]], tokens[going[0]]]) / divisor
        if len(found) == beams and first <= found[-1].score:
            break
        parents, tokens = parents[going], tokens[going]
        texts = [(*texts[p], int(t)) for p, t in zip(parents, tokens, strict=True)]
        totals = scores[parents, tokens]
        logits = step(parents, tokens)
    return found


def _log_probs(logits: Any) -> Any:
    """Turn scores into log-probabilities: logits (n, V) -> log_probs (n, V), in float64."""
    scores = np.asarray(logits, dtype=np.float64)
    highest = scores.max(axis=-1, keepdims=True)
    if np.isnan(highest).any():
        raise TinyllmError("the model's scores are NaN: its weights are damaged or overflowed")
    if (highest == -np.inf).any():
        raise TinyllmError("no token may be chosen: every score is -inf")
    scores = scores - highest
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def _best(scores: Any, k: int) -> tuple[Any, Any]:
    """Return where the k highest are, the highest first, of equals the first: rows and columns.

    What is -inf may not be chosen, so there may be fewer.
    """
    flat = scores.reshape(-1)
    least = np.partition(flat, -k)[-k] if k < len(flat) else -np.inf
    near = np.flatnonzero((flat >= least) & (flat > -np.inf))
    best = near[np.argsort(-flat[near], kind="stable")][:k]
    return np.divmod(best, scores.shape[1])
