"""Masked language modelling: some tokens are hidden, and an encoder is asked which they were.

    text      the cat sat  on the mat .
    tokens    the  ?  sat  on dog mat .      ? is the mask
    targets    ·  cat  ·   ·  the mat ·      · is not asked for, -100

Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 3.1 and appendix A.1. Other tokens are drawn
each time a text is seen (Liu et al. 2019, "RoBERTa", arXiv:1907.11692, section 4.1).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyllm.ops.losses import IGNORED
from tinyllm.tokenizers import Tokenizer
from tinyllm.tokenizers.masks import mask_token

HIDING = 3  # which of a run's streams of random numbers this is; see `windows.ORDER`
ASKED, MASKED, REPLACED = 0.15, 0.8, 0.1  # of the tokens; of those asked for


def masked_tokens(
    tokenizer: Tokenizer, *, seed: int = 0
) -> Callable[[Any, Sequence[int]], tuple[Any, Any]]:
    """Return the task of an encoder: see `tinyllm.training.tasks`.

    A window begins and ends with the special tokens that the tokenizer puts around a text, in the
    place of its own. Raises UsageError where the tokenizer has no mask.
    """
    _, mask = mask_token(tokenizer)
    special = list(tokenizer.special_tokens.values())

    def task(rows: Any, place: Sequence[int]) -> tuple[Any, Any]:
        tokens = rows[:, :-1].copy()
        if tokenizer.add_bos:
            tokens[:, 0] = tokenizer.bos_id
        if tokenizer.add_eos:
            tokens[:, -1] = tokenizer.eos_id
        rng = np.random.default_rng([seed, HIDING, *place])
        return hide_tokens(tokens, rng, mask=mask, special=special, others=tokenizer.vocab_size)

    return task


def hide_tokens(
    tokens: Any, rng: np.random.Generator, *, mask: int, special: Sequence[int], others: int
) -> tuple[Any, Any]:
    """Ask for 15 % of each text's tokens, at least one, and hide most of these.

    tokens (B, T) -> tokens (B, T), targets (B, T)

    Of those asked for, 80 % become the mask and 10 % any id below `others`; the rest stay, so that
    an encoder must make something of every token, hidden or not. Special ones are never asked for.
    """
    can_be = ~np.isin(tokens, special)
    n_can_be = can_be.sum(axis=1, keepdims=True)
    wanted = np.minimum(np.maximum(1, np.rint(ASKED * n_can_be)), n_can_be)
    lots = np.where(can_be, rng.random(tokens.shape), 1.0)
    rank = np.argsort(np.argsort(lots, axis=1), axis=1)
    asked = rank < wanted
    how, other = rng.random(tokens.shape), rng.integers(others, size=tokens.shape)
    shown = np.where(how < MASKED, mask, np.where(how < MASKED + REPLACED, other, tokens))
    return np.where(asked, shown, tokens), np.where(asked, tokens, IGNORED)
