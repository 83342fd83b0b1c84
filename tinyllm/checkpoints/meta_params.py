"""Meta's params.json and Mistral's, from and to a Hugging Face config.

    {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256,
     "multiple_of": 1024, "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0}

What it does not say has Meta's defaults: a context of 2048 tokens, a RoPE base of 10000.
"""

import warnings
from math import ceil
from typing import Any

from tinyllm.checkpoints.diagnose import shown
from tinyllm.checkpoints.llama_config import (
    LLAMA3_SCALING,
    LlamaSizes,
    hf_config,
    number,
    read_sizes,
    refuse_beyond_llama,
    rope_of,
    whole,
    window_of,
)
from tinyllm.errors import ConfigError

_KNOWN = {
    "dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "norm_eps",
    "hidden_dim", "multiple_of", "ffn_dim_multiplier", "max_seq_len", "max_batch_size",
    "rope_theta", "use_scaled_rope", "sliding_window", "tied_embeddings",
}  # fmt: skip


def params_to_config(params: dict[str, Any], where: str) -> dict[str, Any]:
    """Read params.json as a Hugging Face config.

    Raises ConfigError for a key that is not known: it could change what the model computes.
    """
    unknown = sorted(params.keys() - _KNOWN)
    if unknown:
        raise ConfigError(f"{where}: {shown(unknown[0])} is not known, so its effect is not either")
    return hf_config(
        _read_sizes(params, where),
        rms_norm_eps=number(params, "norm_eps", where),
        **_read_rope(params, where),
        **_read_window(params, where),
        tie_word_embeddings=_flag(params, "tied_embeddings", where),
    )


def config_to_params(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Write a Hugging Face config as params.json says it.

    The layout has no place for token ids (bos, eos): these are the tokenizer's there.

    Raises ConfigError for what params.json cannot say.
    """
    refuse_beyond_llama(config, where, "Meta's layout")
    theta, scaling = rope_of(config, where)
    if scaling not in (None, LLAMA3_SCALING):
        raise ConfigError(f"{where}: Meta's layout cannot hold rope_scaling = {shown(scaling)}")
    sizes = read_sizes(config, where)
    params: dict[str, Any] = {
        "dim": sizes.d_model,
        "n_layers": sizes.n_layers,
        "n_heads": sizes.n_heads,
        "n_kv_heads": sizes.n_kv_heads,
        "head_dim": sizes.head_dim,
        "hidden_dim": sizes.d_ff,
        "vocab_size": sizes.vocab_size,
        "max_seq_len": sizes.max_seq_len,
        "norm_eps": number(config, "rms_norm_eps", where),
        "rope_theta": theta,
    }
    if scaling:
        params["use_scaled_rope"] = True
    if config.get("model_type") == "mistral":
        params["sliding_window"] = window_of(config, where)
    if config.get("tie_word_embeddings"):
        params["tied_embeddings"] = True
    return params


def _read_sizes(params: dict[str, Any], where: str) -> LlamaSizes:
    """Read the sizes under Meta's names."""
    dim, n_heads = whole(params, "dim", where), whole(params, "n_heads", where)
    return read_sizes(
        {
            "hidden_size": dim,
            "intermediate_size": _hidden_dim(params, dim, where),
            "num_hidden_layers": whole(params, "n_layers", where),
            "num_attention_heads": n_heads,
            "num_key_value_heads": whole(params, "n_kv_heads", where, n_heads),
            "head_dim": whole(params, "head_dim", where, dim // n_heads),
            "vocab_size": whole(params, "vocab_size", where),
            "max_position_embeddings": whole(params, "max_seq_len", where, 2048),
        },
        where,
    )


def _hidden_dim(params: dict[str, Any], dim: int, where: str) -> int:
    """The width of the MLP: given, or F = m ⌈⌊r ⌊8D/3⌋⌋ / m⌉.

    r is ffn_dim_multiplier, m multiple_of.
    """
    if params.get("hidden_dim") is not None:
        return whole(params, "hidden_dim", where)
    multiple = whole(params, "multiple_of", where, 256)
    ratio = number(params, "ffn_dim_multiplier", where, 1.0)
    return multiple * ceil(int(ratio * (8 * dim // 3)) / multiple)


def _read_rope(params: dict[str, Any], where: str) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_theta": number(params, "rope_theta", where, 10000.0)}
    if _flag(params, "use_scaled_rope", where):
        warnings.warn(
            f"{where}: use_scaled_rope is taken for Llama 3.1's factor of 8; the file does not "
            "say it, and Llama 3.2 has 32",
            stacklevel=4,
        )
        rope["rope_scaling"] = dict(LLAMA3_SCALING)
    return rope


def _read_window(params: dict[str, Any], where: str) -> dict[str, Any]:
    """Mistral's keys, where the file speaks of a window, be it null."""
    if "sliding_window" not in params:
        return {}
    window = params["sliding_window"]
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "sliding_window": None if window is None else whole(params, "sliding_window", where),
    }


def _flag(params: dict[str, Any], key: str, where: str) -> bool:
    value = params.get(key)
    if value is not None and type(value) is not bool:
        raise ConfigError(f"{where}: {key} is {shown(value)}; expected true or false")
    return bool(value)
