"""The encoder: a whole text in, and for each place a score for every token that may stand there."""

from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.errors import UsageError
from tinyllm.layers.mlp import GELU, GELU_TANH, RELU
from tinyllm.layers.projection import projection_backward, projection_forward
from tinyllm.models.encoder_config import EncoderConfig
from tinyllm.models.stack import norm_layer, stack_backward, stack_forward
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.linear import linear_backward, linear_forward
from tinyllm.params import flatten

ACTIVATIONS = {"gelu": GELU, "gelu_tanh": GELU_TANH, "relu": RELU}


def encoder_forward(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: EncoderConfig,
    dropout: Dropout | None = None,
    types: Array | None = None,
) -> tuple[Array, Saved]:
    """Score what may stand in the place of each token: logits = head(norm(blocks(embed(tokens)))).

    tokens (B, T), types (B, T) -> logits (B, T, V)

    Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 3.1; Liu et al. 2019, "RoBERTa"
    (arXiv:1907.11692). `p` is the parameter tree; `types` say which of two texts a token is of, all
    of the first unless given. Nothing attends to padding.
    """
    hidden, s = encoded_forward(xp, tokens, p, config, types=types, dropout=dropout)
    logits, s["head"] = masked_head_forward(xp, hidden, p, config)
    return logits, s


def encoder_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[None, Params]:
    """Return the gradient of every parameter, by its name; a tied table's two are added."""
    config: EncoderConfig = saved["config"]
    dhidden, masked_head, dhead = masked_head_backward(xp, dy, saved["head"])
    tied = dhead["weight"] if config.tie_embeddings else None
    _, model = stack_backward(xp, dhidden, saved, dhead=tied)
    if config.pooler:  # which the scores do not pass
        zeros = {k: xp.zeros(x.shape, dtype=dy.dtype) for k, x in saved["pooler"].items()}
        model |= {"pooler": zeros}
    head = {} if config.tie_embeddings else {"lm_head": dhead}
    return None, flatten({"model": model, "masked_head": masked_head} | head)


def encoded_forward(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: EncoderConfig,
    *,
    types: Array | None = None,
    dropout: Dropout | None = None,
) -> tuple[Array, dict[str, Saved]]:
    """Make a vector of every token that knows the text on both sides.

    tokens (B, T), types (B, T) -> hidden (B, T, D)

    `stack_backward` is the way back.
    """
    positions = text_positions_without_padding(xp.to_numpy(tokens), config.pad_id)
    types = xp.zeros_like(tokens) if types is None else types
    hidden, s = stack_forward(
        xp, tokens, p, config, positions=positions, types=types, dropout=dropout
    )
    s["pooler"] = p["model"].get("pooler")
    return hidden, s


def encoded(
    xp: Backend, tokens: Array, p: dict[str, Any], config: EncoderConfig, types: Array | None = None
) -> Array:
    """Do the same and keep nothing: tokens (B, T) -> hidden (B, T, D)."""
    return encoded_forward(xp, tokens, p, config, types=types)[0]


def text_positions_without_padding(tokens: Any, pad_id: int | None) -> Any:
    """Count the tokens of each text from 0; padding stands at -1.

    tokens (B, T) -> positions (B, T), or (T,) where no text has padding
    """
    if pad_id is None or (seen := tokens != pad_id).all():
        return np.arange(tokens.shape[1])
    return np.where(seen, np.cumsum(seen, axis=1) - 1, -1)


def masked_head_forward(
    xp: Backend, hidden: Array, p: dict[str, Any], config: EncoderConfig
) -> tuple[Array, Saved]:
    """Score tokens: logits = norm(act(hidden Wᵀ + b)) Eᵀ + c.

    hidden (..., D) -> logits (..., V)

    E is the embedding table, or lm_head's where there is one. Raises UsageError for an encoder that
    has no such head.
    """
    if not config.masked_head:
        raise UsageError("this encoder makes vectors of tokens, and has no head that scores them")
    head, act = p["masked_head"], ACTIVATIONS[config.masked_act]
    s: dict[str, Saved] = {"act_of": act, "norm_of": norm_layer(config)}
    x, s["dense"] = projection_forward(xp, hidden, head["dense"])
    x, s["act"] = act.forward(xp, x)
    x, s["norm"] = s["norm_of"].forward(xp, x, head["norm"])
    weight = p.get("lm_head", p["model"]["embed_tokens"])["weight"]
    logits, s["scores"] = linear_forward(xp, x, weight, head["bias"])
    return logits, s


def masked_head_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, dict[str, Any], dict[str, Array]]:
    """dhidden, and the gradients of the branches masked_head and lm_head."""
    grads: dict[str, Any] = {}
    dx, dweight, grads["bias"] = linear_backward(xp, dy, saved["scores"])
    dx, grads["norm"] = saved["norm_of"].backward(xp, dx, saved["norm"])
    dx = saved["act_of"].backward(xp, dx, saved["act"])
    dhidden, grads["dense"] = projection_backward(xp, dx, saved["dense"])
    return dhidden, grads, {"weight": dweight}


def pooled(
    xp: Backend, hidden: Array, tokens: Array, p: dict[str, Any], config: EncoderConfig, how: str
) -> Array:
    """Make one vector of all that a text has.

    hidden (B, T, D), tokens (B, T) -> y (B, D)

    cls      the first token's
    pooler   tanh(cls Wᵀ + b), as BERT was trained to say whether a text follows another
    mean     the mean of all but the padding (Reimers & Gurevych 2019, arXiv:1908.10084, section 3)
    max      the largest of each feature

    Raises UsageError for another word, or a pooler that the model has not.
    """
    if how == "cls":
        return hidden[:, 0, :]
    if how == "pooler" and "pooler" in p["model"]:
        return xp.tanh(projection_forward(xp, hidden[:, 0, :], p["model"]["pooler"])[0])
    if how == "pooler":
        raise UsageError("this model has no pooler: use mean, cls or max")
    ids = xp.to_numpy(tokens)
    seen = np.ones(ids.shape, bool) if config.pad_id is None else ids != config.pad_id
    there = xp.asarray(seen)[:, :, None]
    if how == "mean":
        total = xp.sum(xp.where(there, hidden, xp.zeros_like(hidden)), axis=1)
        counts = xp.asarray(np.maximum(seen.sum(axis=1, keepdims=True), 1))
        return total / xp.astype(counts, hidden.dtype)
    if how == "max":
        return xp.max(xp.where(there, hidden, xp.zeros_like(hidden) - xp.inf), axis=1)
    raise UsageError(f"there is no pooling {how!r}; there are mean, cls, max and pooler")
