"""The decoder: tokens in, a score for every possible next token out."""

from typing import Any

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.layers.projection import projection_backward, projection_forward
from tinyllm.models.config import DecoderConfig
from tinyllm.models.stack import stack_backward, stack_forward
from tinyllm.ops.activations import softcap_backward, softcap_forward
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.linear import linear_backward, linear_forward
from tinyllm.params import flatten


def decoder_forward(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: DecoderConfig,
    dropout: Dropout | None = None,
) -> tuple[Array, Saved]:
    """Score every next token: logits = norm(blocks(embed(tokens))) W_headᵀ.

    tokens (B, T) -> logits (B, T, V)

    Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3;
    Touvron et al. 2023, "LLaMA" (arXiv:2302.13971), section 2.2. `p` is the parameter tree.
    """
    hidden, s = stack_forward(xp, tokens, p, config, dropout=dropout)
    logits, s["head"] = logits_forward(xp, hidden, p, config)
    return logits, s


def decoder_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[None, Params]:
    """Return the gradient of every parameter, by its name; a tied table's two are added."""
    dhidden, dhead, around = logits_backward(xp, dy, saved["head"])
    if saved["config"].tie_embeddings:
        _, model = stack_backward(xp, dhidden, saved, dhead=dhead)
        return None, flatten({"model": model | around})
    _, model = stack_backward(xp, dhidden, saved)
    return None, flatten({"model": model | around, "lm_head": {"weight": dhead}})


def head_forward(xp: Backend, hidden: Array, p: dict[str, Any]) -> tuple[Array, Saved]:
    """Score every token of the vocabulary, by the embedding table where there is no other matrix.

    hidden (..., D) -> logits (..., V)
    """
    return linear_forward(xp, hidden, **p.get("lm_head", p["model"]["embed_tokens"]))


def logits_forward(
    xp: Backend, hidden: Array, p: dict[str, Any], config: DecoderConfig
) -> tuple[Array, Saved]:
    """Score every token of the vocabulary, below the soft cap where the config has one.

    hidden (..., D) -> logits (..., V)

    Before a table that is narrower than the stack stands a matrix, as in OPT-350M's files.
    """
    s_out = s_cap = None
    if config.embed_dim is not None:
        hidden, s_out = projection_forward(xp, hidden, p["model"]["project_out"])
    logits, s_head = head_forward(xp, hidden, p)
    if config.logit_softcap is not None:
        logits, s_cap = softcap_forward(xp, logits, cap=config.logit_softcap)
    return logits, (s_out, s_head, s_cap)


def logits_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, Array, dict[str, dict[str, Array]]]:
    """dhidden, the gradient of the head's matrix, and that of the one before it, if there is one.

    The head's matrix may be the embedding table.
    """
    s_out, s_head, s_cap = saved
    dy = dy if s_cap is None else softcap_backward(xp, dy, s_cap)
    dhidden, dhead, _ = linear_backward(xp, dy, s_head)
    if s_out is None:
        return dhidden, dhead, {}
    dhidden, dproject = projection_backward(xp, dhidden, s_out)
    return dhidden, dhead, {"project_out": dproject}
