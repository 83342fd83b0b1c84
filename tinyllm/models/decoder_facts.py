"""What a decoder's config says of it: its fields, what it keeps of a text, its arithmetic."""

from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from typing import Any

from tinyllm.models.block import blocks_of, config_of_block
from tinyllm.models.config import (
    EMBED_POSITIONS,
    EMBED_TOKENS,
    DecoderConfig,
    StackConfig,
    param_shapes,
)
from tinyllm.models.experts import idle_parameters
from tinyllm.models.feed_forward import Shapes
from tinyllm.models.layouts import layout_of_block
from tinyllm.models.positions import describe_positions, positions_stay


def describe_decoder(config: DecoderConfig) -> dict[str, Any]:
    """Return the config as a dict that JSON can hold, of positions the numbers that count."""
    return asdict(config) | {"positions": describe_positions(config.positions)}


def kept_widths(config: StackConfig, index: int) -> tuple[int, int, int]:
    """Return for how many heads a layer keeps keys and values, and how wide each of these is.

    Latent attention keeps one vector for all heads, whose first part are its values.
    """
    block = config_of_block(config, index)
    if "self_attn" not in layout_of_block(block.layout).sublayers:
        return 0, 0, 0
    if config.latent is not None:
        return 1, config.latent.kv_rank + config.head_dim, 0
    return block.n_kv_heads, config.head_dim, config.head_dim


def kv_numbers(config: StackConfig, tokens: int) -> int:
    """Return how many numbers a KV cache of so many tokens holds: 2 L K d each.

    A cache that rolls keeps no more than the widest window.
    """
    columns = min(tokens, max(window or tokens for window in config.windows))
    widths = (kept_widths(config, i) for i in range(config.n_layers))
    return columns * sum(heads * (of_key + of_value) for heads, of_key, of_value in widths)


def decoder_flops(config: DecoderConfig) -> tuple[int, int]:
    """Return the floating-point operations of a forward pass for one token, in two parts.

    2 for each weight of a matrix that the token passes, and 4 H d in each layer for each token that
    it attends to: a product with its key, and one with its value (Kaplan et al. 2020,
    arXiv:2001.08361, table 1). Experts count that the token is sent to; latent attention counts
    as it reads from its cache. Embeddings are looked up, not multiplied; norms, rotations and
    activations are left out.
    """
    looked_up = [EMBED_POSITIONS] if config.tie_embeddings else [EMBED_POSITIONS, EMBED_TOKENS]
    matrices = matrix_numbers(param_shapes(config), looked_up)
    per_key = 2 * config.head_dim
    if config.latent is not None:
        per_key = 2 * config.latent.kv_rank + config.head_dim
    active = matrices - idle_parameters(config)
    return 2 * active, 2 * per_key * sum(block.n_heads for block in blocks_of(config))


def matrix_numbers(shapes: Shapes, looked_up: Sequence[str]) -> int:
    """Return how many numbers all matrices have but those of which only rows are looked up."""
    return sum(
        prod(shape) for name, shape in shapes.items() if len(shape) == 2 and name not in looked_up
    )


def scores_stay(config: DecoderConfig) -> bool:
    """Whether a token's score stays what it is when more tokens follow.

    Positions that are scaled by the length of the text move when it grows.
    """
    return positions_stay(config.positions)
