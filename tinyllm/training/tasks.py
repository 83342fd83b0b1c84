"""What a model is to say of a window of text: its next tokens, those hidden, or those taken out."""

from collections.abc import Callable, Sequence
from typing import Any

from tinyllm.errors import UsageError
from tinyllm.models.architecture import Config, architecture
from tinyllm.models.seq2seq_config import Seq2SeqConfig
from tinyllm.tokenizers import Tokenizer
from tinyllm.training.masking import masked_tokens
from tinyllm.training.spans import corrupted_spans

# Windows (B, T + 1) and where they stand, for what is drawn -> tokens (B, T), or a pair of texts,
# and targets (B, T).
Task = Callable[[Any, Sequence[int]], tuple[Any, Any]]


def next_tokens(rows: Any, place: Sequence[int] = ()) -> tuple[Any, Any]:
    """Ask for each next token: rows (B, T + 1) -> tokens (B, T), targets (B, T)."""
    return rows[:, :-1], rows[:, 1:]


def task_of(config: Config, tokenizer: Tokenizer | None, *, seed: int = 0) -> Task:
    """Return what models of this kind learn from a text.

    Raises UsageError for an encoder without a tokenizer that has a mask, and for an encoder-decoder
    without one that has sentinels.
    """
    if architecture(config).use == "generate":
        return next_tokens
    if isinstance(config, Seq2SeqConfig):
        if tokenizer is None:
            raise UsageError("an encoder-decoder learns from texts: give a --tokenizer")
        return corrupted_spans(tokenizer, config, seed=seed)
    if tokenizer is None:
        raise UsageError("an encoder learns what a mask hides: give a --tokenizer that has one")
    return masked_tokens(tokenizer, seed=seed)
