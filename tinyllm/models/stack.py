"""A stack of blocks, and what stands around it: tokens in, a hidden vector for each out.

One function serves training, prefill and decoding. Without a cache the tokens stand at positions
0, 1, 2 …; with one, the cache says at which positions they stand and which keys came before. What
a block consists of, the config says by name: see `layouts`, `feed_forward`, `positions` and
`tinyllm.layers.norms`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.attention import (
    BIAS,
    LayerCache,
    self_attention_backward,
    self_attention_forward,
)
from tinyllm.layers.blocks import Sublayers
from tinyllm.layers.cross_attention import read_source_backward, read_source_forward
from tinyllm.layers.layer import Layer
from tinyllm.layers.norms import NORMS
from tinyllm.layers.projection import projection_backward, projection_forward
from tinyllm.models.block import config_of_block
from tinyllm.models.config import StackConfig
from tinyllm.models.experts import without_capacity
from tinyllm.models.feed_forward import feed_forward_of
from tinyllm.models.latent import latent_layer
from tinyllm.models.layouts import layout_of_block
from tinyllm.models.positions import way_of
from tinyllm.ops.dropout import Dropout, dropout_backward, dropout_forward
from tinyllm.ops.embedding import (
    embedding_backward,
    embedding_forward,
    tied_embedding_backward,
)
from tinyllm.ops.position_mask import PositionMask
from tinyllm.ops.relative_position import relative_position_backward


class Source(NamedTuple):
    """What a decoder's layers read from: k and v of each, (B, K, S, d), and what is no padding."""

    keys: Sequence[tuple[Array, Array]]
    mask: Array | None  # (B, 1, 1, S); None: all


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


def stack_forward(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: StackConfig,
    *,
    positions: Any = None,
    types: Array | None = None,
    source: Source | None = None,
    dropout: Dropout | None = None,
) -> tuple[Array, dict[str, Saved]]:
    """Make a hidden vector of every token: hidden = norm(blocks(embed(tokens))).

    tokens (B, T) -> hidden (B, T, D)

    `p` is the parameter tree. `positions` (B, T), on the host, are 0, 1, 2 … unless given; padding
    has negative ones. `types` (B, T) and `source` are for a config that has them. For training,
    `dropout` falls on the embedded tokens and on what each sublayer adds to them.
    """
    s: dict[str, Saved] = {"config": config, "layers": []}
    queries, keys = (positions,) * 2 if positions is not None else text_positions(tokens.shape[1])
    x, s["embedding"] = embed_forward(xp, tokens, p, config, queries, types=types)
    x, s["dropout"] = dropout_forward(xp, x, dropout=dropout)
    table = p["model"].get("embed_positions")
    bias, s["bias"] = way_of(config.positions).learned_bias(xp, table, config, queries, keys)
    x = run_blocks(
        xp, x, p["model"]["layers"], config, queries, keys,
        learned_bias=bias, source=source, dropout=dropout, s_layers=s["layers"],
    )  # fmt: skip
    s["hidden"], s["norm"] = final_norm_forward(xp, x, p, config)
    return s["hidden"], s


def stack_backward(
    xp: Backend, dy: Array, saved: dict[str, Saved], *, dhead: Array | None = None
) -> tuple[None, dict[str, Any]]:
    """Return the gradients of the branch "model" of the parameter tree.

    `dhead` is what the embedding table has as a head, where it is one, and is used up. Whatever
    else was made of the residual stream adds its gradient there: see `with_dstreams`.
    """
    config: StackConfig = saved["config"]
    dx, dnorm = final_norm_backward(xp, dy, config, saved["norm"])
    blocks: dict[str, Any] = {}
    laid, L = saved.get("dstreams", {}), len(saved["layers"])
    dx = dx + laid[L] if L in laid else dx
    for i in reversed(range(L)):
        layout = layout_of_block(config_of_block(config, i).layout)
        dx, blocks[str(i)] = layout.backward(xp, dx, saved["layers"][i])
        dx = dx + laid[i] if i in laid else dx
    if saved["bias"] is not None:  # one for all layers
        dbias = sum(block["self_attn"].pop(BIAS) for block in blocks.values())
        dtable = {"weight": relative_position_backward(xp, dbias, saved["bias"])[1]}
    dx = dropout_backward(xp, dx, saved["dropout"])
    around = embed_backward(xp, dx, config, saved["embedding"], dhead=dhead)
    if saved["bias"] is not None:
        around["embed_positions"] = dtable
    layers = {str(i): blocks[str(i)] for i in range(len(blocks))}
    return None, {**around, "layers": layers, "norm": dnorm}


def with_dstreams(saved: Saved, dstreams: dict[int, Array]) -> Saved:
    """Return what was saved with gradients (B, T, D) that the residual stream has from elsewhere.

    By number: 0 of what the first block is given, 1 of what it gives, and so on. That is how a loss
    of hidden states gets back into a model.
    """
    return saved | {"dstreams": dstreams}


def hidden_states(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: StackConfig,
    *,
    kv: Cache | None = None,
    source: Source | None = None,
) -> Array:
    """Run all but the head, and keep nothing; a caller may want the score of one position only.

    tokens (B, T) -> hidden (B, T, D)

    With a cache the tokens come after those that it has seen. Experts drop none of them.
    """
    T, config = tokens.shape[1], without_capacity(config)
    queries, keys = text_positions(T) if kv is None else kv.positions(T)
    x, _ = embed_forward(xp, tokens, p, config, queries)
    table = p["model"].get("embed_positions")
    bias, _ = way_of(config.positions).learned_bias(xp, table, config, queries, keys)
    x = run_blocks(
        xp, x, p["model"]["layers"], config, queries, keys,
        learned_bias=bias, source=source, kv=kv,
    )  # fmt: skip
    return final_norm_forward(xp, x, p, config)[0]


def final_norm_forward(
    xp: Backend, x: Array, p: dict[str, Any], config: StackConfig
) -> tuple[Array, Saved]:
    """Normalise what the last block gives, unless its layout has done so.

    x (B, T, D) -> y (B, T, D)
    """
    if not layout_of_block(config.layout).final_norm:
        return x, None
    return norm_layer(config).forward(xp, x, p["model"]["norm"])


def final_norm_backward(
    xp: Backend, dy: Array, config: StackConfig, saved: Saved
) -> tuple[Array, dict[str, Any]]:
    """dx, and the norm's gradients; dx = dy where there is none."""
    return (dy, {}) if saved is None else norm_layer(config).backward(xp, dy, saved)


def text_positions(T: int) -> tuple[Any, Any]:
    """Where the tokens of a text stand, and the keys that they meet: on the host (see `Cache`)."""
    return np.arange(T), np.arange(T)


def computed_in(p: dict[str, Any]) -> Any:
    """Return the dtype of the norms, which is computed in: stored matrices may be narrower."""
    branches = (p["model"], *p["model"]["layers"].values())
    norms = (b[name] for b in branches for name in b if name.endswith("norm"))
    return next(norms)["weight"].dtype


def cached_in(xp: Backend, p: dict[str, Any]) -> Any:
    """Return the dtype to keep keys and values in: that of the matrices, where these have 16 bits
    and the backend attends in as many.
    """
    table = p["model"].get("embed_tokens")
    narrow = xp.narrow_products and table is not None and table["weight"].dtype.itemsize == 2
    return table["weight"].dtype if narrow else computed_in(p)


def embed_forward(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: StackConfig,
    queries: Any,
    *,
    types: Array | None = None,
) -> tuple[Array, Saved]:
    """Look tokens up, scale, widen, add types and positions, normalise: where the config says so.

    tokens (B, T) -> x (B, T, D)

    `queries` are the tokens' positions, and `types` (B, T) which of two texts a token is of.
    """
    s: dict[str, Saved] = {"types": None}
    x, s["tokens"] = embedding_forward(xp, tokens, **p["model"]["embed_tokens"])
    dtype = computed_in(p)
    x = x if x.dtype == dtype else xp.astype(x, dtype)
    x = x if config.embedding_scale == 1.0 else x * config.embedding_scale
    if config.embed_dim is not None:
        x, s["project_in"] = projection_forward(xp, x, p["model"]["project_in"])
    if types is not None:
        added, s["types"] = embedding_forward(xp, types, **p["model"]["embed_types"])
        x = x + added
    table, add = p["model"].get("embed_positions", {}), way_of(config.positions).add_forward
    x, s["positions"] = add(xp, x, table, config.positions, positions=queries)
    if config.embedding_norm:
        x, s["norm"] = norm_layer(config).forward(xp, x, p["model"]["embed_norm"])
    return x, s


def embed_backward(
    xp: Backend,
    dy: Array,
    config: StackConfig,
    saved: Saved,
    *,
    dhead: Array | None = None,
) -> dict[str, Any]:
    """Return the gradients of the embedding table and of what stands around it, by their names.

    `dhead` is what the table has as a head, where it is one, and is used up.
    """
    grads: dict[str, Any] = {}
    if config.embedding_norm:
        dy, grads["embed_norm"] = norm_layer(config).backward(xp, dy, saved["norm"])
    add_backward = way_of(config.positions).add_backward
    dx, grads["embed_positions"] = add_backward(xp, dy, saved["positions"])
    if saved["types"] is not None:
        grads["embed_types"] = {"weight": embedding_backward(xp, dx, saved["types"])[1]}
    if config.embed_dim is not None:
        dx, grads["project_in"] = projection_backward(xp, dx, saved["project_in"])
    dx = dx if config.embedding_scale == 1.0 else dx * config.embedding_scale
    if dhead is None:
        _, dtokens = embedding_backward(xp, dx, saved["tokens"])
    else:
        _, dtokens = tied_embedding_backward(xp, dx, saved["tokens"], dhead)
    return {"embed_tokens": {"weight": dtokens}} | grads


def run_blocks(
    xp: Backend,
    x: Array,
    layers: dict[str, Any],
    config: StackConfig,
    queries: Any,
    keys: Any,
    *,
    only: int | None = None,
    learned_bias: Array | None = None,
    source: Source | None = None,
    kv: Cache | None = None,
    dropout: Dropout | None = None,
    s_layers: list[Saved] | None = None,
) -> Array:
    """Run the blocks, or one of them; put what a backward pass needs into `s_layers`.

    x (B, T, D) -> y (B, T, D)

    `layers` are their branches of the parameter tree by number; `queries` and `keys` the positions
    of the tokens and of the keys that they meet. Without `s_layers` what a block saves is let go of
    at once.
    """
    positions, cached = config.positions, kv is not None
    way, norm = way_of(positions), norm_layer(config)
    rotation = way.rotation(xp, positions, queries, config.head_dim, x.dtype, cached=cached)
    bias = way.bias(xp, config, queries, keys, x.dtype)
    slopes = way.slopes(xp, config, x.dtype)
    rule = PositionMask(queries=queries, keys=keys, causal=config.causal, slopes=slopes)
    masks = {window: _mask(xp, replace(rule, window=window), bias) for window in config.windows}
    for i in range(config.n_layers) if only is None else (only,):
        block = config_of_block(config, i)
        attention = _attention_layer(block, rotation=rotation)
        attend = partial(
            attention.forward,
            mask=masks[config.windows[i]],
            kv=None if kv is None else kv.layer(i),
            **({} if learned_bias is None else {"bias": learned_bias}),
        )
        mlp = feed_forward_of(block, i).layer(block)
        cross = None if source is None else _cross_layer(block, source, i)
        sublayers = Sublayers(norm, Layer(attend, attention.backward), mlp, cross)
        forward = layout_of_block(block.layout).forward
        x, s = forward(xp, x, layers[str(i)], sublayers, dropout)
        if s_layers is not None:
            s_layers.append(s)
        del s
    if kv is not None:
        kv.advance(x.shape[1])
    return x


def norm_layer(config: StackConfig) -> Layer:
    """Return the model's norm."""
    norm = NORMS[config.norm]
    return Layer(partial(norm.forward, eps=config.norm_eps), norm.backward)


def _attention_layer(config: StackConfig, **around: Any) -> Layer:
    """Return the model's attention, which wants a mask and a cache yet."""
    if config.latent is not None:
        return latent_layer(config, **around)
    forward = partial(
        self_attention_forward,
        n_heads=config.n_heads,
        n_kv_heads=config.n_kv_heads,
        norm_eps=config.norm_eps,
        scale=config.attention_scale,
        softcap=config.attention_softcap,
        clip=config.qkv_clip,
        **around,
    )
    return Layer(forward, self_attention_backward)


def _cross_layer(config: StackConfig, source: Source, index: int) -> Layer:
    """Return what reads from the source in block `index`."""
    forward = partial(
        read_source_forward,
        keys=source.keys[index],
        mask=source.mask,
        n_heads=config.n_heads,
        scale=config.attention_scale,
    )
    return Layer(forward, read_source_backward)


def _mask(xp: Backend, rule: PositionMask, bias: Array | None) -> Array | PositionMask | None:
    """Who may attend to whom; None if all to all alike.

    With a bias (H, T, S) or (B, H, T, S), what is added to the scores: the bias, or -inf.
    """
    if rule.slopes is None and rule.shows_all():
        return bias
    if bias is None:
        return rule
    visible = rule.tile(xp, slice(None), slice(None))
    return xp.where(visible, bias, xp.asarray(-xp.inf, dtype=bias.dtype))
