"""What an encoder is asked: what stands in the place of a mask, and what vector a text has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend
from tinyllm.errors import UsageError
from tinyllm.models.encoder import encoded, masked_head_forward, pooled
from tinyllm.models.encoder_config import EncoderConfig
from tinyllm.ops.softmax import softmax_forward
from tinyllm.tokenizers import Tokenizer
from tinyllm.tokenizers.masks import mask_token


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """A token that may stand in the place of a mask."""

    token: int
    text: str
    probability: float


def text_ids(tokenizer: Tokenizer, text: str, config: EncoderConfig) -> list[int]:
    """Return the ids of a text in its frame, like [CLS] and [SEP]; masks in it are tokens.

    Raises UsageError for a text that is longer than the model can read.
    """
    ids = tokenizer.encode(text, bos=tokenizer.add_bos, eos=tokenizer.add_eos, allow_special=True)
    if not 0 < len(ids) <= config.max_seq_len:
        raise UsageError(
            f"the text has {len(ids)} tokens; this model reads 1 to {config.max_seq_len}"
        )
    return ids


def fill_mask(
    xp: Backend, p: dict[str, Any], config: EncoderConfig, tokenizer: Tokenizer, text: str, top: int
) -> list[list[Guess]]:
    """Return the `top` likeliest tokens for each mask of a text, the likeliest first.

    `p` is the parameter tree. Of several masks each is judged with the others still hidden. Raises
    UsageError for a text without one.
    """
    if top < 1:
        raise UsageError(f"top is {top}, expected at least 1")
    name, mask = mask_token(tokenizer)
    ids = np.array([text_ids(tokenizer, text, config)])
    places = np.flatnonzero(ids[0] == mask)
    if not len(places):
        raise UsageError(f"there is no {name} in the text to be filled")
    hidden = encoded(xp, xp.asarray(ids), p, config)[0, ...]
    logits, _ = masked_head_forward(xp, xp.take(hidden, xp.asarray(places), axis=0), p, config)
    probs, _ = softmax_forward(xp, logits[:, : tokenizer.vocab_size])
    best = xp.to_numpy(xp.top_k(probs, min(top, tokenizer.vocab_size)))
    found = xp.to_numpy(probs)
    return [
        [
            Guess(token=int(i), text=tokenizer.decode([int(i)]), probability=float(row[i]))
            for i in chosen
        ]
        for row, chosen in zip(found, best, strict=True)
    ]


def text_vectors(
    xp: Backend,
    p: dict[str, Any],
    config: EncoderConfig,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pooling: str,
) -> Array:
    """Make one vector of each text: texts (B) -> y (B, D), on the host.

    `pooling` is a word of `tinyllm.models.encoder.pooled`. A text gives the same vector in any
    company, to rounding.
    """
    rows = [text_ids(tokenizer, text, config) for text in texts]
    if not rows:
        return np.zeros((0, config.d_model))
    if config.pad_id is None and len({len(row) for row in rows}) > 1:
        parts = [text_vectors(xp, p, config, tokenizer, [text], pooling) for text in texts]
        return np.concatenate(parts)
    tokens = np.full((len(rows), max(map(len, rows))), config.pad_id or 0, np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    ids = xp.asarray(tokens)
    return xp.to_numpy(pooled(xp, encoded(xp, ids, p, config), ids, p, config, pooling))
