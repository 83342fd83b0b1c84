"""Read and write config.json, the Hugging Face description of a model."""

from typing import Any

from tinyllm.errors import ConfigError
from tinyllm.models.config import DecoderConfig
from tinyllm.models.families import FAMILIES, MOST_LAYERS, layer_types
from tinyllm.models.key_reader import KeyReader
from tinyllm.models.rope_json import read_rope, write_rope

LARGEST = 2**24  # of any axis of a weight

# Keys that do not change what a trained model computes.
HARMLESS = frozenset(
    {
        "attention_dropout",
        "dtype",
        "id2label",
        "initializer_range",
        "is_llama_config",
        "label2id",
        "max_window_layers",
        "name_or_path",
        "output_attentions",
        "pad_token_id",
        "pretraining_tp",
        "torch_dtype",
        "transformers.js_config",
        "transformers_version",
        "unsloth_version",
        "use_cache",
    }
)


def read_config_json(values: dict[str, Any], where: str) -> DecoderConfig:
    """Understand a config, or raise ConfigError: a key that is not understood is never ignored.

    `where` names the file in messages.
    """
    keys = KeyReader(values, where)
    _refuse_what_is_not_weights(keys)
    name = keys.string("model_type", tuple(FAMILIES))
    family = FAMILIES[name]
    if keys.get("architectures") not in (None, [], [family.architecture]):
        raise keys.error("architectures", f"expected {[family.architecture]} for a {name}")
    max_seq_len = keys.integer("max_position_embeddings", 1, 2**31)
    vocab_size = keys.integer("vocab_size", 1, LARGEST)
    keys.string("hidden_act", ("silu",), default="silu")
    config = DecoderConfig(
        family=name,
        vocab_size=vocab_size,
        d_ff=keys.integer("intermediate_size", 1, LARGEST),
        n_layers=keys.integer("num_hidden_layers", 1, MOST_LAYERS),
        max_seq_len=max_seq_len,
        norm_eps=keys.number("rms_norm_eps", 1e-30, 1.0),
        rope=read_rope(keys, max_seq_len),
        tie_embeddings=keys.boolean("tie_word_embeddings", False),
        bos_id=keys.integer("bos_token_id", 0, vocab_size - 1, default=None),
        eos_ids=read_eos(keys, vocab_size),
        **_read_heads(keys, family.head_dim),
        **family.read(keys),
    )
    if keys.number("partial_rotary_factor", 0.0, default=1.0) != 1.0:
        raise keys.error("partial_rotary_factor", f"tinyllm rotates whole heads in a {name}")
    _check_layer_types(keys, config)
    keys.refuse_unread(HARMLESS)
    return config


def write_config_json(config: DecoderConfig, dtype: str) -> dict[str, Any]:
    """Return what config.json says of `config`; `dtype` is that of the weights on disk."""
    family = FAMILIES[config.family]
    eos = config.eos_ids
    return {
        "architectures": [family.architecture],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": config.bos_id,
        "eos_token_id": (eos[0] if len(eos) == 1 else list(eos)) if eos else None,
        "torch_dtype": dtype,
        **write_rope(config.rope),
        **family.write(config),
    }


def read_eos(keys: KeyReader, vocab_size: int) -> tuple[int, ...]:
    """Return the ids that end a text: the file may hold one, a list, or null."""
    value = keys.get("eos_token_id")
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(type(i) is int and 0 <= i < vocab_size for i in ids):
        raise keys.error("eos_token_id", f"expected ids from 0 to {vocab_size - 1}")
    return tuple(dict.fromkeys(ids))


def _read_heads(keys: KeyReader, head_dim: int | None) -> dict[str, Any]:
    """Read the sizes of attention; `head_dim` or an equal share, where the file gives none."""
    d_model = keys.integer("hidden_size", 1, LARGEST)
    n_heads = keys.integer("num_attention_heads", 1, LARGEST)
    n_kv_heads = keys.integer("num_key_value_heads", 1, LARGEST, default=n_heads)
    if n_heads % n_kv_heads:
        raise keys.error("num_key_value_heads", f"expected a divisor of {n_heads} heads")
    head_dim = keys.integer("head_dim", 1, LARGEST, default=head_dim)
    if head_dim is None:
        if d_model % n_heads:
            raise keys.error(
                "hidden_size", f"expected a multiple of {n_heads} heads, or a head_dim"
            )
        head_dim = d_model // n_heads
    if head_dim % 2:
        raise ConfigError(f"{keys.where}: head_dim is {head_dim}; RoPE turns pairs of features")
    return {
        "d_model": d_model,
        "n_heads": n_heads,
        "n_kv_heads": n_kv_heads,
        "head_dim": head_dim,
    }


def _refuse_what_is_not_weights(keys: KeyReader) -> None:
    if keys.get("quantization_config"):
        raise ConfigError(
            f"{keys.where}: the weights are quantised (quantization_config); tinyllm reads "
            f"float64, float32, float16 and bfloat16: get the model's original weights"
        )
    if keys.get("auto_map"):
        raise ConfigError(
            f"{keys.where}: the model needs code of its own (auto_map), which tinyllm does not run"
        )


def _check_layer_types(keys: KeyReader, config: DecoderConfig) -> None:
    """Some files list what the windows already say."""
    expected = layer_types(config.windows)
    if keys.get("layer_types") not in (None, expected):
        raise keys.error("layer_types", f"expected {expected[0]} in every layer")
