"""What an encoder–decoder's config says of it: its fields, its arithmetic, its first parameters."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Saved
from tinyllm.errors import UsageError
from tinyllm.models.config import EMBED_TOKENS, HEAD
from tinyllm.models.decoder_facts import kv_numbers, matrix_numbers
from tinyllm.models.init import STD, init_stack
from tinyllm.models.positions import describe_positions
from tinyllm.models.seq2seq_config import LOGITS_BIAS, Seq2SeqConfig, seq2seq_shapes


def describe_seq2seq(config: Seq2SeqConfig) -> dict[str, Any]:
    """Return the config as a dict that JSON can hold."""
    described = asdict(config)
    for side in ("encoder", "decoder"):
        described[side]["positions"] = describe_positions(getattr(config, side).positions)
    return described


def init_seq2seq(
    config: Seq2SeqConfig, rng: np.random.Generator, dtype: Any = np.float32
) -> dict[str, Any]:
    """Draw the parameters: see `init_stack`. What is added to tokens' scores begins at 0.

    The tables are drawn so wide that scores, c x Eᵀ with x of length √D and c the `head_scale`,
    vary by about 1: from Normal(0, 1/(c² D)). That is Vaswani's table and T5's.
    """
    params = init_stack(config.decoder, seq2seq_shapes(config), rng, dtype)
    wider = 1.0 / (config.head_scale * math.sqrt(config.d_model) * STD)
    for name in {EMBED_TOKENS, HEAD} & params.keys():
        params[name] = params[name] * np.asarray(wider, dtype)
    if config.logits_bias:
        params[LOGITS_BIAS] = np.zeros_like(params[LOGITS_BIAS])
    return params


def seq2seq_kv_numbers(config: Seq2SeqConfig, tokens: int) -> int:
    """Return how many numbers decoding keeps: of the target's tokens, and of a source as long."""
    return 2 * kv_numbers(config.decoder, tokens)


def seq2seq_flops(config: Seq2SeqConfig) -> tuple[int, int]:
    """Return the floating-point operations for one token in both texts, and for each before it.

    Counted as for a decoder (`tinyllm.models.decoder_facts.decoder_flops`); the decoder attends to
    the target and to the source.
    """
    shapes = seq2seq_shapes(config)
    around = (LOGITS_BIAS, *(name for name in shapes if name.endswith("embed_positions.weight")))
    tables = around if config.tie_embeddings else (EMBED_TOKENS, *around)
    encoder, decoder = config.encoder, config.decoder
    widths = encoder.n_layers * encoder.n_heads + 2 * decoder.n_layers * decoder.n_heads
    return 2 * matrix_numbers(shapes, tables), 4 * decoder.head_dim * widths


def seq2seq_traced(xp: Backend, saved: Saved, names: Any) -> dict[str, Array]:
    """Raise UsageError: the names of activations are those of one stack, and here are two."""
    raise UsageError("activations can be traced in a model of one stack, and this one has two")
