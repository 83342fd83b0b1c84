"""What Llama's other formats can say of a model, from and to a Hugging Face config."""

from typing import Any

from tinyllm.checkpoints.rope_keys import find_rope
from tinyllm.checkpoints.sizes import HF_NAMES, Sizes
from tinyllm.errors import ConfigError
from tinyllm.key_reader import KeyReader
from tinyllm.shown import shown

LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def hf_config(sizes: Sizes, **other: Any) -> dict[str, Any]:
    """Write the sizes as a Hugging Face config for Llama; `other` keys replace or follow."""
    named = {key: getattr(sizes, field) for field, key in HF_NAMES.items()}
    if sizes.head_dim * sizes.n_heads == sizes.d_model:
        del named["head_dim"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **named,
        "hidden_act": "silu",
        **other,
    }


def rope_of(config: KeyReader) -> tuple[float, dict[str, Any] | None]:
    """The base of RoPE and its scaling, in one spelling: None where it is not scaled."""
    theta, kind, keys = find_rope(config)
    if kind == "default":
        return theta, None
    apart = ("type", "rope_type", "rope_theta")
    numbers = {key: value for key, value in keys.values.items() if key not in apart}
    return theta, {"rope_type": kind, **numbers}


def window_of(config: KeyReader) -> int | None:
    """The sliding window, in tokens: Mistral's is 4096 unless the config says null."""
    says_null = config.get("sliding_window") is None and "sliding_window" in config.values
    if config.get("model_type") != "mistral" or says_null:
        return None
    return config.integer("sliding_window", 1, 2**31, default=4096)


def refuse_beyond_llama(config: KeyReader, layout: str) -> None:
    """Raise ConfigError for what is neither Llama nor Mistral."""
    known = {
        "model_type": ("llama", "mistral"),
        "hidden_act": ("silu", None),
        "partial_rotary_factor": (1.0, None),
        "quantization_config": (None,),
    }
    for key, values in known.items():
        value = config.get(key)
        if value not in values:
            raise ConfigError(f"{config.where}: {layout} cannot hold {key} = {shown(value)}")
