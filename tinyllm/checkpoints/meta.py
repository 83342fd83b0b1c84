"""The folders in which Meta and Mistral give out Llama-shaped models.

    params.json                  dim, n_layers, n_heads ...
    consolidated.safetensors     layers.0.attention.wq.weight ..., RoPE interleaved

Mistral's come so; Meta's own consolidated.00.pth is a pickle and refused. So are the model-parallel
parts consolidated.00, consolidated.01 ...: which axis each tensor was cut along depends on the
release, and a wrong guess would still have the right shape.
"""

import json
import os
import warnings
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.checkpoints.diagnose import refusal, shown
from tinyllm.checkpoints.folder import MAX_CONFIG, MAX_SHARD
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
from tinyllm.checkpoints.llama_names import hf_to_meta, meta_to_hf
from tinyllm.checkpoints.safetensors_file import read_tensors
from tinyllm.checkpoints.shards import read_stem, write_shards
from tinyllm.errors import ConfigError
from tinyllm.json_file import read_json

_KNOWN = {
    "dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "norm_eps",
    "hidden_dim", "multiple_of", "ffn_dim_multiplier", "max_seq_len", "max_batch_size",
    "rope_theta", "use_scaled_rope", "sliding_window", "tied_embeddings",
}  # fmt: skip
_NOT_READ = (
    "is a PyTorch pickle, which can run any code when it is opened, so tinyllm does not; get the "
    "model's Hugging Face folder, or save it with safetensors.torch.save_file(torch.load(FILE, "
    "weights_only=True), 'consolidated.safetensors')"
)
PathLike = str | os.PathLike[str]


def read_meta(folder: PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a folder in Meta's layout as a Hugging Face config and tensors, in their dtypes.

    q and k are copied, their rows reordered; the rest are mapped. What params.json does not say has
    Meta's defaults: a context of 2048, a RoPE base of 10000.

    Raises ConfigError for a key that is not known, CheckpointError for files that are not readable.
    """
    folder = Path(folder)
    path = folder / "params.json"
    params = read_json(path, ConfigError, MAX_CONFIG)
    unknown = sorted(params.keys() - _KNOWN)
    if unknown:
        raise ConfigError(f"{path}: {shown(unknown[0])} is not known, so its effect is not either")
    tensors = _read_tensors(folder)
    sizes = _read_sizes(params, tensors, str(path))
    config = hf_config(
        sizes,
        rms_norm_eps=number(params, "norm_eps", str(path)),
        **_read_rope(params, str(path)),
        **_read_window(params, str(path)),
        tie_word_embeddings=_flag(params, "tied_embeddings", path),
    )
    if config["model_type"] == "llama":
        config["attention_bias"] = "layers.0.attention.wq.bias" in tensors
        config["mlp_bias"] = "layers.0.feed_forward.w1.bias" in tensors
    return config, meta_to_hf(tensors, sizes.n_heads, sizes.n_kv_heads, str(folder))


def write_meta(folder: PathLike, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Write a folder in Meta's layout, in the tensors' own dtypes.

    The layout has no place for token ids (bos, eos): these are the tokenizer's there.

    Raises ConfigError for what params.json cannot say, CheckpointError where the disk refuses.
    """
    folder = Path(folder)
    params = _params(config, str(folder))
    weights = hf_to_meta(tensors, params["n_heads"], params["n_kv_heads"], str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_shards(folder, weights, MAX_SHARD, "consolidated")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise refusal(folder, f"cannot be written: {error}") from error
    with atomic_write(folder / "params.json") as file:
        file.write(json.dumps(params, indent=2).encode() + b"\n")


def _read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """Map the weights, from one file or from shards with an index."""
    tensors = read_stem(folder, "consolidated")
    if tensors is not None:
        return tensors
    parts = sorted(path for path in folder.glob("consolidated*") if path.name != "consolidated")
    pickles = [path for path in parts if path.suffix in (".pth", ".pt", ".bin")]
    if pickles:
        raise refusal(pickles[0], _NOT_READ)
    if len(parts) == 1 and parts[0].name == "consolidated.00.safetensors":
        return read_tensors(parts[0])
    if parts:
        raise refusal(
            parts[-1],
            f"is one of {len(parts)} model-parallel parts, which are not merged; get the model's "
            "Hugging Face folder, or merge them into consolidated.safetensors",
        )
    raise refusal(folder, "has a params.json but no consolidated.safetensors")


def _read_sizes(params: dict[str, Any], tensors: dict[str, np.ndarray], where: str) -> LlamaSizes:
    dim, n_heads = whole(params, "dim", where), whole(params, "n_heads", where)
    embedding = tensors.get("tok_embeddings.weight")
    if params.get("vocab_size") == -1 and embedding is not None and embedding.ndim:
        params = params | {"vocab_size": embedding.shape[0]}  # Llama 1: the tokenizer's size
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
            stacklevel=3,
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


def _flag(params: dict[str, Any], key: str, where: str | Path) -> bool:
    value = params.get(key)
    if value is not None and type(value) is not bool:
        raise ConfigError(f"{where}: {key} is {shown(value)}; expected true or false")
    return bool(value)


def _params(config: dict[str, Any], where: str) -> dict[str, Any]:
    """What params.json says of this config."""
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
        params["sliding_window"] = window_of(config)
    if config.get("tie_word_embeddings"):
        params["tied_embeddings"] = True
    return params
