"""The decoder: tokens in, a score for every possible next token out.

One function serves training, prefill and decoding. Without a cache the tokens stand at positions
0, 1, 2 …; with one, the cache says at which positions they stand and which keys came before.
"""

from typing import Any, Protocol

import numpy as np

from tinyllm.backend import Array, Backend, Params, Saved, get_backend
from tinyllm.layers.attention import LayerCache
from tinyllm.layers.blocks import pre_norm_block_backward, pre_norm_block_forward
from tinyllm.models.config import DecoderConfig
from tinyllm.models.positions import way_of
from tinyllm.ops.attention import attention_mask
from tinyllm.ops.dropout import Dropout, dropout_backward, dropout_forward
from tinyllm.ops.embedding import embedding_backward, embedding_forward
from tinyllm.ops.linear import linear_backward, linear_forward
from tinyllm.ops.norms import rmsnorm_backward, rmsnorm_forward
from tinyllm.params import flatten

_HOST = get_backend("numpy")  # positions are counted on the host


class Cache(Protocol):
    """What the decoder needs of a KV cache: see `tinyllm.inference.kv_cache`."""

    def positions(self, T: int, /) -> tuple[Any, Any]:
        """The positions of T new tokens and of the keys they meet, on the host."""
        ...

    def layer(self, index: int, /) -> LayerCache:
        """The part of one layer."""
        ...

    def advance(self, T: int, /) -> None:
        """Count T tokens as seen, once every layer has them."""
        ...


def decoder_forward(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: DecoderConfig,
    dropout: Dropout | None = None,
) -> tuple[Array, Saved]:
    """Score every next token: logits = norm(blocks(embed(tokens))) W_headᵀ.

    tokens (B, T) -> logits (B, T, V)

    Touvron et al. 2023, "LLaMA" (arXiv:2302.13971), section 2.2. `p` is the parameter tree.
    For training, `dropout` falls on the embedded tokens and on what each sublayer adds to them.
    """
    s: dict[str, Saved] = {"config": config, "layers": []}
    queries, keys = _positions(tokens.shape[1], None)
    x, s["embedding"] = _embed(xp, tokens, p, config, queries)
    x, s["dropout"] = dropout_forward(xp, x, dropout=dropout)
    x = _blocks(xp, x, p, config, queries, keys, dropout=dropout, s_layers=s["layers"])
    hidden, s["norm"] = rmsnorm_forward(xp, x, **p["model"]["norm"], eps=config.norm_eps)
    logits, s["head"] = head_forward(xp, hidden, p)
    return logits, s


def decoder_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[None, Params]:
    """Return the gradient of every parameter, by its name; a tied table's two are added."""
    config: DecoderConfig = saved["config"]
    dhidden, dhead, _ = linear_backward(xp, dy, saved["head"])
    dx, dweight = rmsnorm_backward(xp, dhidden, saved["norm"])
    blocks: dict[str, Any] = {}
    for i in reversed(range(len(saved["layers"]))):
        dx, blocks[str(i)] = pre_norm_block_backward(xp, dx, saved["layers"][i])
    dx = dropout_backward(xp, dx, saved["dropout"])
    dembedding, dpositions = _embed_backward(xp, dx, config, saved["embedding"])
    tied = config.tie_embeddings
    grads = {
        "model": {
            "embed_tokens": {"weight": dembedding + dhead if tied else dembedding},
            "embed_positions": dpositions,
            "layers": {str(i): blocks[str(i)] for i in range(len(blocks))},
            "norm": {"weight": dweight},
        }
    }
    return None, flatten(grads if tied else grads | {"lm_head": {"weight": dhead}})


def hidden_states(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: DecoderConfig,
    *,
    kv: Cache | None = None,
) -> Array:
    """Run all but the head, and keep nothing; a caller may want the score of one position only.

    tokens (B, T) -> hidden (B, T, D)

    With a cache the tokens come after those that it has seen.
    """
    queries, keys = _positions(tokens.shape[1], kv)
    x, _ = _embed(xp, tokens, p, config, queries)
    x = _blocks(xp, x, p, config, queries, keys, kv=kv)
    return rmsnorm_forward(xp, x, **p["model"]["norm"], eps=config.norm_eps)[0]


def head_forward(xp: Backend, hidden: Array, p: dict[str, Any]) -> tuple[Array, Saved]:
    """Score every token of the vocabulary, by the embedding table where there is no other matrix.

    hidden (..., D) -> logits (..., V)
    """
    return linear_forward(xp, hidden, **p.get("lm_head", p["model"]["embed_tokens"]))


def _positions(T: int, kv: Cache | None) -> tuple[Any, Any]:
    """Where the tokens stand, and the keys that they meet: on the host (see `Cache`)."""
    return kv.positions(T) if kv is not None else (np.arange(T), np.arange(T))


def _embed(
    xp: Backend, tokens: Array, p: dict[str, Any], config: DecoderConfig, queries: Any
) -> tuple[Array, Saved]:
    """Look the tokens up, and compute in the dtype of the norms: a stored table may be narrower."""
    s: dict[str, Saved] = {}
    x, s["tokens"] = embedding_forward(xp, tokens, **p["model"]["embed_tokens"])
    dtype = p["model"]["norm"]["weight"].dtype
    x = x if x.dtype == dtype else xp.astype(x, dtype)
    x = x if config.embedding_scale == 1.0 else x * config.embedding_scale
    add = way_of(config.positions).add_forward
    x, s["positions"] = add(xp, x, p["model"].get("embed_positions", {}), positions=queries)
    return x, s


def _embed_backward(
    xp: Backend, dy: Array, config: DecoderConfig, saved: Saved
) -> tuple[Array, dict[str, Any]]:
    dx, dpositions = way_of(config.positions).add_backward(xp, dy, saved["positions"])
    _, dtokens = embedding_backward(xp, dx * config.embedding_scale, saved["tokens"])
    return dtokens, dpositions


def _blocks(
    xp: Backend,
    x: Array,
    p: dict[str, Any],
    config: DecoderConfig,
    queries: Any,
    keys: Any,
    *,
    kv: Cache | None = None,
    dropout: Dropout | None = None,
    s_layers: list[Saved] | None = None,
) -> Array:
    """Run the blocks; put what a backward pass needs into `s_layers`, or let go of it at once."""
    positions, cached = config.positions, kv is not None
    way = way_of(positions)
    rotation = way.rotation(xp, positions, queries, config.head_dim, x.dtype, cached=cached)
    bias = way.bias(xp, config.n_heads, queries, keys, x.dtype)
    masks = {window: _mask(xp, queries, keys, window, bias) for window in set(config.windows)}
    for i in range(config.n_layers):
        x, s = pre_norm_block_forward(
            xp,
            x,
            p["model"]["layers"][str(i)],
            n_heads=config.n_heads,
            n_kv_heads=config.n_kv_heads,
            norm_eps=config.norm_eps,
            rotation=rotation,
            mask=masks[config.windows[i]],
            kv=None if kv is None else kv.layer(i),
            dropout=dropout,
        )
        if s_layers is not None:
            s_layers.append(s)
        del s
    if kv is not None:
        kv.advance(x.shape[1])
    return x


def _mask(
    xp: Backend, queries: Any, keys: Any, window: int | None, bias: Array | None
) -> Array | None:
    """Who may attend to whom: (T, S), or (B, 1, T, S) where rows are padded; None if all to all.

    With a bias (H, T, S), what is added to the scores: the bias, or -inf.
    """
    if queries.ndim == 2:
        queries, keys = queries[:, None, :], keys[:, None, :]
    visible = attention_mask(_HOST, queries, keys, window=window)
    if visible.all():
        return bias
    if bias is None:
        return xp.asarray(visible)
    return xp.where(xp.asarray(visible), bias, xp.asarray(-xp.inf, dtype=bias.dtype))
