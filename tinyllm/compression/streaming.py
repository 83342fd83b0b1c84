"""A decoder one block at a time: what streamed calibration and changes of depth stand on.

    x = embedded(…);  x = after_block(…, 0);  x = after_block(…, 1);  …;  logits = scored(…)

gives what the whole model gives. Between two steps only the residual stream is in memory.
"""

from typing import Any

from tinyllm.backend import Array, Backend
from tinyllm.errors import UsageError
from tinyllm.models.config import DecoderConfig
from tinyllm.models.decoder import logits_forward
from tinyllm.models.stack import embed_forward, final_norm_forward, run_blocks, text_positions


def require_decoder(config: Any) -> DecoderConfig:
    """Return the config. Raises UsageError for a model that does not consist of blocks."""
    if not isinstance(config, DecoderConfig):
        kind = getattr(config, "family", type(config).__name__)
        raise UsageError(f"this is for decoders, and the model is a {kind}")
    return config


def embedded(xp: Backend, tokens: Array, p: dict[str, Any], config: DecoderConfig) -> Array:
    """Return the residual stream before the first block: tokens (B, T) -> x (B, T, D)."""
    queries, _ = text_positions(tokens.shape[1])
    return embed_forward(xp, tokens, p, config, queries)[0]


def after_block(
    xp: Backend, x: Array, layer: dict[str, Any], config: DecoderConfig, index: int
) -> Array:
    """Run block `index`: x (B, T, D) -> y (B, T, D). `layer` is its branch of the tree."""
    queries, keys = text_positions(x.shape[1])
    return run_blocks(xp, x, {str(index): layer}, config, queries, keys, only=index)


def scored(xp: Backend, x: Array, p: dict[str, Any], config: DecoderConfig) -> Array:
    """Score every next token by what the last block gives: x (B, T, D) -> logits (B, T, V)."""
    hidden, _ = final_norm_forward(xp, x, p, config)
    return logits_forward(xp, hidden, p, config)[0]
