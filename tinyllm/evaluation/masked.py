"""How surprised an encoder is by a text, if each token in turn is hidden from it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.errors import UsageError
from tinyllm.evaluation.perplexity import exp_or_inf, fingerprint
from tinyllm.evaluation.scoring import BATCH, Scorer
from tinyllm.models.architecture import require_use
from tinyllm.ops.losses import IGNORED
from tinyllm.tokenizers.masks import mask_token


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoPerplexity:
    """The number, and what it depends on."""

    texts: int
    tokens_scored: int
    nll: float  # nats per token, each given all others of its text
    ppl: float
    context: int
    tokenizer: str


def measure_pseudo_perplexity(
    model: Scorer,
    texts: Sequence[str],
    *,
    context: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> PseudoPerplexity:
    """Hide each token of each text in turn: PPPL = exp(-1/N Σₜ log p(wₜ | all others)).

    Salazar, Liang, Nguyen and Kirchhoff 2020, "Masked language model scoring" (arXiv:1910.14659),
    eq. 1 and section 2.3. Special tokens are not scored. Texts longer than `context` tokens, the
    model's unless given, are cut into parts. A text of T tokens takes T texts' work. Raises
    UsageError for a model that is no encoder, or has no tokenizer.
    """
    require_use(model.config, "fill-mask")
    tokenizer, longest = model.tokenizer, model.config.max_seq_len
    if tokenizer is None:
        raise UsageError("the model's folder has no tokenizer, which makes tokens of a text")
    before = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
    after = [tokenizer.eos_id] if tokenizer.add_eos and tokenizer.eos_id is not None else []
    frame = len(before) + len(after)
    room = (longest if context is None else context) - frame
    if not 1 <= room <= longest - frame:
        raise UsageError(f"context is {context}, expected {frame + 1} to {longest}")
    _, mask = mask_token(tokenizer)
    total, count = 0.0, 0
    for number, text in enumerate(texts, 1):
        ids = tokenizer.encode(text)
        for start in range(0, len(ids), room):
            row = np.array([*before, *ids[start : start + room], *after])
            scored = np.arange(len(before), len(row) - len(after))
            total -= math.fsum(_hidden_in_turn(model, row, scored, mask))
            count += len(scored)
        report(f"{number:,} of {len(texts):,} texts")
    if not count:
        raise UsageError("the text has no token that could be hidden")
    nll = total / count
    return PseudoPerplexity(
        texts=len(texts), tokens_scored=count, nll=nll, context=room + frame,
        ppl=exp_or_inf(nll), tokenizer=fingerprint(tokenizer),
    )  # fmt: skip


def _hidden_in_turn(model: Scorer, row: Any, scored: Any, mask: int) -> list[float]:
    """Return the log-probability of each token, hidden alone: row (T,), scored (N,) -> (N,)."""
    found: list[float] = []
    size = max(1, BATCH // len(row))
    for start in range(0, len(scored), size):
        places = scored[start : start + size]
        tokens = np.repeat(row[None, :], len(places), axis=0)
        targets = np.full_like(tokens, IGNORED)
        each = np.arange(len(places))
        targets[each, places] = row[places]
        tokens[each, places] = mask
        found += model.logprobs(tokens, targets)[each, places].tolist()
    return found
