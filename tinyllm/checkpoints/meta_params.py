"""Meta's params.json and Mistral's, from and to a Hugging Face config.

    {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256,
     "multiple_of": 1024, "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0}

What it does not say has Meta's defaults: a context of 2048 tokens, a RoPE base of 10000.
"""

import warnings
from math import ceil
from typing import Any

from tinyllm.checkpoints.llama_config import (
    LLAMA3_SCALING,
    hf_config,
    refuse_beyond_llama,
    rope_of,
    window_of,
)
from tinyllm.checkpoints.rope_keys import find_rope
from tinyllm.checkpoints.sizes import EPS_RANGE, LARGEST, read_rotary_sizes
from tinyllm.errors import ConfigError
from tinyllm.key_reader import KeyReader
from tinyllm.shown import shown

_NAMES = {
    "d_model": "dim",
    "d_ff": "hidden_dim",
    "n_layers": "n_layers",
    "n_heads": "n_heads",
    "n_kv_heads": "n_kv_heads",
    "head_dim": "head_dim",
    "vocab_size": "vocab_size",
    "max_seq_len": "max_seq_len",
}

_KNOWN = {
    *_NAMES.values(), "norm_eps", "multiple_of", "ffn_dim_multiplier", "max_batch_size",
    "rope_theta", "use_scaled_rope", "sliding_window", "tied_embeddings",
}  # fmt: skip


def params_to_config(params: dict[str, Any], where: str) -> dict[str, Any]:
    """Read params.json as a Hugging Face config.

    Raises ConfigError for a key that is not known: it could change what the model computes.
    """
    unknown = sorted(params.keys() - _KNOWN)
    if unknown:
        raise ConfigError(f"{where}: {shown(unknown[0])} is not known, so its effect is not either")
    keys = KeyReader(params, where)
    # What may be left out is filled in, so that sizes are read under Meta's names as under others.
    filled = params | {"hidden_dim": _hidden_dim(keys)}
    filled["max_seq_len"] = keys.integer("max_seq_len", 1, 2**31, default=2048)
    return hf_config(
        read_rotary_sizes(KeyReader(filled, where), _NAMES),
        rms_norm_eps=keys.number("norm_eps", *EPS_RANGE),
        **_read_rope(keys),
        **_read_window(keys),
        tie_word_embeddings=keys.boolean("tied_embeddings", False),
    )


def config_to_params(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Write a Hugging Face config as params.json says it.

    The layout has no place for token ids (bos, eos): these are the tokenizer's there.

    Raises ConfigError for what params.json cannot say.
    """
    keys = KeyReader(config, where)
    refuse_beyond_llama(keys, "Meta's layout")
    theta, scaling = rope_of(keys)
    if scaling not in (None, LLAMA3_SCALING):
        raise ConfigError(f"{where}: Meta's layout cannot hold rope_scaling = {shown(scaling)}")
    sizes = read_rotary_sizes(keys)
    params: dict[str, Any] = {key: getattr(sizes, field) for field, key in _NAMES.items()}
    params |= {"norm_eps": keys.number("rms_norm_eps", *EPS_RANGE), "rope_theta": theta}
    if scaling:
        params["use_scaled_rope"] = True
    if config.get("model_type") == "mistral":
        params["sliding_window"] = window_of(keys)
    if config.get("tie_word_embeddings"):
        params["tied_embeddings"] = True
    return params


def _hidden_dim(keys: KeyReader) -> int:
    """The width of the MLP: given, or F = m ⌈⌊r ⌊8D/3⌋⌋ / m⌉.

    r is ffn_dim_multiplier, m multiple_of.
    """
    given = keys.integer("hidden_dim", 1, LARGEST, default=None)
    if given is not None:
        return given
    dim = keys.integer("dim", 1, LARGEST)
    multiple = keys.integer("multiple_of", 1, LARGEST, default=256)
    ratio = keys.number("ffn_dim_multiplier", 0.0, LARGEST, default=1.0)
    return multiple * ceil(int(ratio * (8 * dim // 3)) / multiple)


def _read_rope(keys: KeyReader) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_theta": find_rope(keys)[0]}
    if keys.boolean("use_scaled_rope", False):
        warnings.warn(
            f"{keys.where}: use_scaled_rope is taken for Llama 3.1's factor of 8; the file does "
            "not say it, and Llama 3.2 has 32",
            stacklevel=4,
        )
        rope["rope_scaling"] = dict(LLAMA3_SCALING)
    return rope


def _read_window(keys: KeyReader) -> dict[str, Any]:
    """Mistral's keys, where the file speaks of a window, be it null."""
    if "sliding_window" not in keys.values:
        return {}
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "sliding_window": keys.integer("sliding_window", 1, 2**31, default=None),
    }
