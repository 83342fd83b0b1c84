"""How good translations are: what the model thinks of those by people, and they of the model's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tinyllm.errors import UsageError
from tinyllm.evaluation.bleu import corpus_bleu
from tinyllm.evaluation.perplexity import exp_or_inf
from tinyllm.evaluation.scoring import Scorer
from tinyllm.models.architecture import require_use
from tinyllm.models.seq2seq import Pair, shifted_right
from tinyllm.models.seq2seq_config import Seq2SeqConfig
from tinyllm.tokenizers.frames import source_ids, target_ids


class Translator(Scorer, Protocol):
    """What is needed of a `tinyllm.Model`, beside scores."""

    def translate(self, text: str, /, *, beams: int, alpha: float, max_tokens: int) -> Any:
        """Return what has a `text`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Translations:
    """The numbers, and what they depend on."""

    pairs: int
    nll: float  # nats per token of the targets, each given all before it
    ppl: float
    bleu: float  # from 0 to 1, of words that stand between spaces
    exact: float  # the part of the targets that came out to the last character
    beams: int
    alpha: float


def measure_translations(
    model: Translator,
    sources: Sequence[str],
    targets: Sequence[str],
    *,
    beams: int = 4,
    alpha: float = 0.6,
    max_tokens: int = 256,
    report: Callable[[str], None] = lambda line: None,
) -> Translations:
    """Compare the model's translations of texts with those of people, and score these with it.

    Raises UsageError for another kind of model, or texts that are not as many.
    """
    require_use(model.config, "translate")
    if not sources or len(sources) != len(targets):
        raise UsageError(
            f"there are {len(sources)} sources and {len(targets)} targets; expected as many"
        )
    total, count = 0.0, 0
    written: list[str] = []
    for number, (source, target) in enumerate(zip(sources, targets, strict=True), 1):
        scores = _target_logprobs(model, source, target)
        total, count = total - float(scores.sum()), count + scores.size
        found = model.translate(source, beams=beams, alpha=alpha, max_tokens=max_tokens)
        written.append(found.text)
        report(f"{number:,} of {len(sources):,} texts")
    bleu = corpus_bleu([text.split() for text in written], [[text.split()] for text in targets])
    equal = sum(a == b for a, b in zip(written, targets, strict=True))
    nll = total / count
    return Translations(
        pairs=len(sources), nll=nll, ppl=exp_or_inf(nll),
        bleu=bleu.score, exact=equal / len(sources), beams=beams, alpha=alpha,
    )  # fmt: skip


def _target_logprobs(model: Translator, source: str, target: str) -> Any:
    """Return the log-probability of each token of a target: -> (T,)."""
    if model.tokenizer is None:
        raise UsageError("the model's folder has no tokenizer, which makes tokens of a text")
    assert isinstance(model.config, Seq2SeqConfig)
    wanted = np.array([target_ids(model.tokenizer, target)])
    ids = np.array([source_ids(model.tokenizer, source)])
    for name, row in (("source", ids), ("target", wanted)):
        if not 0 < row.shape[1] <= model.config.max_seq_len:
            raise UsageError(
                f"a {name} has {row.shape[1]} tokens; this model takes 1 to "
                f"{model.config.max_seq_len}"
            )
    return model.logprobs(Pair(ids, shifted_right(wanted, model.config)), wanted)[0]
