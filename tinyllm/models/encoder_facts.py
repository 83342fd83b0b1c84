"""What an encoder's config says of it: its fields and its arithmetic."""

from dataclasses import asdict
from typing import Any

from tinyllm.models.config import EMBED_POSITIONS, EMBED_TOKENS
from tinyllm.models.decoder_facts import matrix_numbers
from tinyllm.models.encoder_config import EMBED_TYPES, EncoderConfig, encoder_shapes
from tinyllm.models.positions import describe_positions


def describe_encoder(config: EncoderConfig) -> dict[str, Any]:
    """Return the config as a dict that JSON can hold."""
    return asdict(config) | {"positions": describe_positions(config.positions)}


def encoder_flops(config: EncoderConfig) -> tuple[int, int]:
    """Return the floating-point operations for one token, and for each token of its text.

    Counted as for a decoder (`tinyllm.models.decoder_facts.decoder_flops`), but that a token
    attends to all others, not only to those before it.
    """
    tables = [EMBED_POSITIONS, EMBED_TYPES]
    if not (config.masked_head and config.tie_embeddings):
        tables.append(EMBED_TOKENS)
    matrices = matrix_numbers(encoder_shapes(config), tables)
    return 2 * matrices, 4 * config.n_layers * config.n_heads * config.head_dim
