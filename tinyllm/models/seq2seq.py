"""The encoder–decoder: a source and the beginning of a target in, scores of what comes next out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.layers.cross_attention import SOURCE, source_keys_backward, source_keys_forward
from tinyllm.models.decoder import head_forward
from tinyllm.models.encoder import text_positions_without_padding
from tinyllm.models.seq2seq_config import Seq2SeqConfig
from tinyllm.models.stack import Cache, Source, hidden_states, stack_backward, stack_forward
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.linear import linear_backward
from tinyllm.params import flatten


@dataclass(frozen=True, slots=True)
class Pair:
    """Token ids of sources, padded behind, and of targets as the decoder is given them."""

    source: Array  # (B, S)
    target: Array  # (B, T)

    def __getitem__(self, rows: slice) -> "Pair":
        """Return some of the pairs, as an array would its rows."""
        return Pair(self.source[rows], self.target[rows])


def pair_inputs(xp: Backend, tokens: Any) -> Pair | Array:
    """Bring a batch to the backend: pairs, or texts."""
    if isinstance(tokens, Pair):
        return Pair(xp.asarray(tokens.source), xp.asarray(tokens.target))
    return xp.asarray(tokens)


def seq2seq_forward(
    xp: Backend,
    tokens: Pair | Array,
    p: dict[str, Any],
    config: Seq2SeqConfig,
    dropout: Dropout | None = None,
) -> tuple[Array, Saved]:
    """Score every next token of the target: logits = decoder(target, encoder(source)) Wᵀ + b.

    source (B, S), target (B, T) -> logits (B, T, V)

    Vaswani et al. 2017 (arXiv:1706.03762), section 3. `p` is the parameter tree. Tokens that are no
    pair are both: a text that is its own source.
    """
    pair = tokens if isinstance(tokens, Pair) else Pair(tokens, tokens)
    s: dict[str, Saved] = {"config": config, "layers": []}
    source, s["encoder"], s["keys"] = source_forward(xp, pair.source, p, config, dropout)
    hidden, s["decoder"] = stack_forward(
        xp, pair.target, side(p, "decoder"), config.decoder, source=source, dropout=dropout
    )
    logits, s["head"] = scores_forward(xp, hidden, p, config)
    return logits, s


def seq2seq_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[None, Params]:
    """Return the gradient of every parameter, by its name; a shared table's are added."""
    config: Seq2SeqConfig = saved["config"]
    dhidden, dhead, dbias = scores_backward(xp, dy, config, saved["head"])
    tied = dhead if config.tie_embeddings else None
    _, decoder = stack_backward(xp, dhidden, saved["decoder"], dhead=tied)
    dsource: Any = 0.0
    for i, s_keys in enumerate(saved["keys"]):
        cross = decoder["layers"][str(i)]["cross_attn"]
        dx, dkeys = source_keys_backward(xp, cross.pop(SOURCE), s_keys)
        dsource, decoder["layers"][str(i)]["cross_attn"] = dsource + dx, cross | dkeys
    table = decoder.pop("embed_tokens")["weight"]
    _, encoder = stack_backward(xp, dsource, saved["encoder"], dhead=table)
    model: dict[str, Any] = {
        "embed_tokens": encoder.pop("embed_tokens"),
        "encoder": encoder,
        "decoder": decoder,
    }
    model |= {"final_logits_bias": dbias} if config.logits_bias else {}
    head = {} if config.tie_embeddings else {"lm_head": {"weight": dhead}}
    return None, flatten({"model": model} | head)


def side(p: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the parameter tree of one of the two stacks, with the table that they share."""
    return {"model": p["model"][name] | {"embed_tokens": p["model"]["embed_tokens"]}}


def source_forward(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: Seq2SeqConfig,
    dropout: Dropout | None = None,
) -> tuple[Source, Saved, list[Saved]]:
    """Read a source, and make what every layer of the decoder will read of it.

    tokens (B, S)
    """
    positions = text_positions_without_padding(xp.to_numpy(tokens), config.pad_id)
    hidden, s_encoder = stack_forward(
        xp, tokens, side(p, "encoder"), config.encoder, positions=positions, dropout=dropout
    )
    layers, heads = p["model"]["decoder"]["layers"], config.decoder.n_kv_heads
    made = [
        source_keys_forward(xp, hidden, layers[str(i)]["cross_attn"], n_kv_heads=heads)
        for i in range(config.decoder.n_layers)
    ]
    padded = (positions < 0).any()
    mask = xp.asarray(positions[:, None, None, :] >= 0) if padded else None
    return Source([keys for keys, _ in made], mask), s_encoder, [s for _, s in made]


def target_states(
    xp: Backend,
    tokens: Array,
    source: Source,
    p: dict[str, Any],
    config: Seq2SeqConfig,
    kv: Cache | None = None,
) -> Array:
    """Run the decoder but for its head, and keep nothing; with a cache, behind what it has seen.

    tokens (B, T) -> hidden (B, T, D)
    """
    return hidden_states(xp, tokens, side(p, "decoder"), config.decoder, kv=kv, source=source)


def seq2seq_states(
    xp: Backend, tokens: Pair | Array, p: dict[str, Any], config: Seq2SeqConfig
) -> Array:
    """Run all but the head, and keep nothing: source (B, S), target (B, T) -> hidden (B, T, D)."""
    pair = tokens if isinstance(tokens, Pair) else Pair(tokens, tokens)
    return target_states(xp, pair.target, source_forward(xp, pair.source, p, config)[0], p, config)


def scores_forward(
    xp: Backend, hidden: Array, p: dict[str, Any], config: Seq2SeqConfig
) -> tuple[Array, Saved]:
    """Score every token of the vocabulary: logits = c hidden Wᵀ + b.

    hidden (..., D) -> logits (..., V)

    c is `head_scale`: T5's 1/√D, without which the scores of a tied table would be too large.
    """
    hidden = hidden if config.head_scale == 1.0 else hidden * config.head_scale
    logits, saved = head_forward(xp, hidden, p)
    return (logits + p["model"]["final_logits_bias"][0, :], saved) if config.logits_bias else (
        logits, saved,
    )  # fmt: skip


def scores_backward(
    xp: Backend, dy: Array, config: Seq2SeqConfig, saved: Saved
) -> tuple[Array, Array, Array | None]:
    """dhidden, and the gradients of the head's matrix and of the bias (1, V)."""
    dhidden, dhead, _ = linear_backward(xp, dy, saved)
    dbias = xp.sum(xp.reshape(dy, (-1, dy.shape[-1])), axis=0, keepdims=True)
    return dhidden * config.head_scale, dhead, dbias if config.logits_bias else None


def shifted_right(targets: Any, config: Seq2SeqConfig) -> Any:
    """Return what the decoder is given for these targets: each the token before it.

    targets (B, T) -> tokens (B, T), in NumPy

    What is not counted, -100, is padding.
    """
    first = np.full_like(targets[:, :1], config.start_id)
    before = np.concatenate([first, targets[:, :-1]], axis=1)
    return np.where(before < 0, config.start_id if config.pad_id is None else config.pad_id, before)
