"""The choice of the next token: from scores to one id, in one documented order.

    logit bias → repetition penalty → temperature → top-k → top-p → min-p → renormalise → draw

Everything happens on the host in float64 with one uniform number for each token, so that a seed
means the same on every backend. Equal scores are ordered by id, the lowest first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyllm.errors import TinyllmError, UsageError

NAN_SCORES = "the model's scores are NaN: its weights are damaged or overflowed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How to choose. Raises UsageError for a number outside its range.

    `temperature` 0 takes the highest score; `top_k` 0, `top_p` 1, `min_p` 0 and
    `repetition_penalty` 1 turn each step off; `repeat_last_n` None penalises all tokens so far.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    repeat_last_n: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("temperature", self.temperature, 0 <= self.temperature < math.inf, "at least 0")
        check_range("top_k", self.top_k, self.top_k >= 0, "at least 0; 0 turns it off")
        check_range("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1")
        check_range("min_p", self.min_p, 0 <= self.min_p <= 1, "from 0 to 1")
        penalty, last_n = self.repetition_penalty, self.repeat_last_n
        check_range("repetition_penalty", penalty, 0 < penalty < math.inf, "above 0")
        check_range("repeat_last_n", last_n, last_n is None or last_n >= 0, "at least 0")
        for token, bias in self.logit_bias.items():
            check_range(f"logit_bias of token {token}", bias, bias < math.inf, "a number below inf")


def choose_token(
    logits: Any, seen: Sequence[int], sampling: Sampling, rng: np.random.Generator
) -> int:
    """Draw the next token after those `seen`, which are the prompt's and the answer's.

    Raises TinyllmError where a score is NaN or no token may be chosen.
    """
    scores = penalised_scores(logits, seen, sampling)
    best = int(np.argmax(scores))  # the first NaN, if there is one
    if math.isnan(scores[best]):
        raise TinyllmError(NAN_SCORES)
    if scores[best] == -math.inf:
        raise TinyllmError("no token may be chosen: every score is -inf")
    if sampling.temperature == 0:
        return best
    ids, probs = candidates(scores, sampling)
    cumulative = np.cumsum(probs)
    index = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
    return int(ids[min(int(index), len(ids) - 1)])


def penalised_scores(logits: Any, seen: Sequence[int], sampling: Sampling) -> Any:
    """Add the bias, then make seen tokens less likely: s/r where s > 0, s·r below.

    logits (V,) -> scores (V,)

    Keskar et al. 2019, "CTRL" (arXiv:1909.05858), section 4.1, with the sign taken into account.
    """
    scores = np.asarray(logits, dtype=np.float64)
    if not sampling.logit_bias and sampling.repetition_penalty == 1.0:
        return scores
    scores = scores.copy()
    for token, bias in sampling.logit_bias.items():
        if not 0 <= token < len(scores):
            raise UsageError(f"logit_bias names token {token}, expected 0 to {len(scores) - 1}")
        scores[token] += bias
    if sampling.repetition_penalty != 1.0:
        start = 0 if sampling.repeat_last_n is None else max(0, len(seen) - sampling.repeat_last_n)
        ids = np.unique(np.asarray(seen[start:], dtype=np.int64))
        r = sampling.repetition_penalty
        scores[ids] = np.where(scores[ids] > 0, scores[ids] / r, scores[ids] * r)
    return scores


def candidates(scores: Any, sampling: Sampling) -> tuple[Any, Any]:
    """Return the tokens that may be drawn, in order of id, and their probabilities.

    scores (V,) -> ids (n,), probs (n,)

    top-k keeps the k highest. top-p keeps the fewest whose probabilities reach p (Holtzman et al.
    2019, arXiv:1904.09751, section 3.1). min-p keeps those of at least min_p times the highest
    (Nguyen et al. 2024, arXiv:2407.01082, section 3). At least one is always kept.
    """
    ids = np.arange(len(scores))
    if 0 < sampling.top_k < len(scores):
        kth = np.partition(scores, -sampling.top_k)[-sampling.top_k]
        above, ties = ids[scores > kth], ids[scores == kth]
        ids = np.sort(np.concatenate([above, ties[: sampling.top_k - len(above)]]))
    exponent = (scores[ids] - np.max(scores)) / sampling.temperature
    probs = np.exp(exponent)
    probs /= probs.sum()
    if sampling.top_p < 1.0:
        # Tokens below this bound weigh less than 1 - p together: the nucleus lies above it.
        likely = np.flatnonzero(probs >= (1.0 - sampling.top_p) / len(probs))
        order = likely[np.argsort(-probs[likely], kind="stable")]
        reached = int(np.searchsorted(np.cumsum(probs[order]), sampling.top_p, side="left"))
        kept = np.sort(order[: reached + 1])
        ids, probs = ids[kept], probs[kept]
    if sampling.min_p > 0.0:
        kept = np.flatnonzero(probs >= sampling.min_p * probs.max())
        ids, probs = ids[kept], probs[kept]
    return ids, probs / probs.sum()


def check_range(name: str, value: Any, fits: bool, expected: str) -> None:
    """Raise UsageError that names `value` and what was expected, unless it `fits`."""
    if not fits:  # also where the value is NaN, which is in no range
        raise UsageError(f"{name} is {value}, expected {expected}")
