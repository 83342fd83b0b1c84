"""What a model is to say of a window of text: its next tokens, or the ones hidden from it."""

from collections.abc import Callable, Sequence
from typing import Any

from tinyllm.errors import UsageError
from tinyllm.models.architecture import Config, architecture
from tinyllm.tokenizers import Tokenizer
from tinyllm.training.masking import masked_tokens

# Windows (B, T + 1) and where they stand, for what is drawn -> tokens (B, T), targets (B, T).
Task = Callable[[Any, Sequence[int]], tuple[Any, Any]]


def next_tokens(rows: Any, place: Sequence[int] = ()) -> tuple[Any, Any]:
    """Ask for each next token: rows (B, T + 1) -> tokens (B, T), targets (B, T)."""
    return rows[:, :-1], rows[:, 1:]


def task_of(config: Config, tokenizer: Tokenizer | None, *, seed: int = 0) -> Task:
    """Return what models of this kind learn from a text.

    Raises UsageError for an encoder without a tokenizer that has a mask, and for a model that
    learns from pairs of texts.
    """
    use = architecture(config).use
    if use == "generate":
        return next_tokens
    if use != "fill-mask":
        raise UsageError(f"a model for {use} learns from pairs of texts, and this is one text")
    if tokenizer is None:
        raise UsageError("an encoder learns what a mask hides: give a --tokenizer that has one")
    return masked_tokens(tokenizer, seed=seed)
