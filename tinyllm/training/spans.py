"""Span corruption: runs of tokens are taken out of a text, and an encoder-decoder writes them.

    text      the cat sat on the mat and slept .
    source    the cat ① the mat ② . </s>            each run is one sentinel, whatever its length
    target    ① sat on ② and slept ③ </s>           what stood there, behind its sentinel

Raffel et al. 2019, "Exploring the limits of transfer learning with a unified text-to-text
transformer" (arXiv:1910.10683), sections 3.1.4 and 3.3.4: 15 % of the tokens, in runs of 3 on
average. The last sentinel ends the target, as in its figure 2.
"""

from collections.abc import Callable, Sequence
from itertools import count, takewhile
from typing import Any

import numpy as np

from tinyllm.errors import UsageError
from tinyllm.models.seq2seq import Pair, shifted_right
from tinyllm.models.seq2seq_config import Seq2SeqConfig
from tinyllm.tokenizers import Tokenizer

SPANS = 4  # which of a run's streams of random numbers this is; see `windows.ORDER`
TAKEN, SPAN = 0.15, 3  # of the tokens; tokens of a run, on average
SENTINELS = tuple(f"<extra_id_{i}>" for i in range(100))


def sentinels_of(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of the sentinels that there are, the first first."""
    known, names = tokenizer.special_tokens, (f"<extra_id_{i}>" for i in count())
    return [known[name] for name in takewhile(known.__contains__, names)]


def corrupted_spans(
    tokenizer: Tokenizer, config: Seq2SeqConfig, *, seed: int = 0
) -> Callable[[Any, Sequence[int]], tuple[Pair, Any]]:
    """Return the task of an encoder-decoder that has no pairs: see `tinyllm.training.tasks`.

    Raises UsageError where the tokenizer has no sentinels, or no token that ends a text; the task,
    where a text has more runs than there are sentinels.
    """
    sentinels, end = sentinels_of(tokenizer), tokenizer.eos_id
    if not sentinels or end is None:
        raise UsageError(
            f"a text without --target is for models whose tokenizer has {SENTINELS[0]} … and a "
            f"token that ends a text: this one learns from pairs, so give a --target"
        )

    def task(rows: Any, place: Sequence[int]) -> tuple[Pair, Any]:
        rng = np.random.default_rng([seed, SPANS, *place])
        sides = [take_spans(row, rng, sentinels) for row in rows[:, :-2]]  # with an end, as long
        source, targets = (
            np.array([[*ids, end] for ids in side]) for side in zip(*sides, strict=True)
        )
        return Pair(source, shifted_right(targets, config)), targets

    return task


def take_spans(
    tokens: Any, rng: np.random.Generator, sentinels: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Take runs of tokens out: what is left, and what was taken, with sentinels in between.

    tokens (T,) -> (S,), (T',) of lengths that depend on T alone
    """
    T = len(tokens)
    taken = min(T, max(1, round(TAKEN * T)))
    spans = max(1, min(round(taken / SPAN), T - taken))
    if spans >= len(sentinels):
        raise UsageError(
            f"a text of {T} tokens has {spans} runs, and there are {len(sentinels)} sentinels, one "
            f"of which ends a target: take a smaller --seq-len"
        )
    runs, between = _parts(taken, spans, rng), _parts(T - taken, spans, rng)
    ids, at = tokens.tolist(), 0
    source: list[int] = []
    target: list[int] = []
    for kept, out, sentinel in zip(between, runs, sentinels, strict=False):
        source += [*ids[at : at + kept], sentinel]
        target += [sentinel, *ids[at + kept : at + kept + out]]
        at += kept + out
    return source, [*target, sentinels[spans]]


def _parts(total: int, n: int, rng: np.random.Generator) -> list[int]:
    """Cut a length into n parts of at least 1, where there is as much, at random places."""
    if total < n:
        return [total] + [0] * (n - 1)
    cuts = np.sort(rng.choice(total - 1, n - 1, replace=False)) + 1
    return np.diff([0, *cuts.tolist(), total]).tolist()
