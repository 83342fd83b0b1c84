"""The folders in which Meta and Mistral give out Llama-shaped models.

    params.json                  dim, n_layers, n_heads ...
    consolidated.safetensors     layers.0.attention.wq.weight ..., RoPE interleaved

Mistral's come so; Meta's own consolidated.00.pth is a pickle and refused. So are the model-parallel
parts consolidated.00, consolidated.01 ...: which axis each tensor was cut along depends on the
release, and a wrong guess would still have the right shape.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.checkpoints.diagnose import refusal
from tinyllm.checkpoints.folder import MAX_CONFIG, MAX_SHARD
from tinyllm.checkpoints.llama_names import hf_to_meta, meta_to_hf
from tinyllm.checkpoints.meta_params import config_to_params, params_to_config
from tinyllm.checkpoints.safetensors_file import read_tensors
from tinyllm.checkpoints.shards import read_stem, write_shards
from tinyllm.errors import ConfigError
from tinyllm.json_file import read_json
from tinyllm.shown import plain

_NOT_READ = (
    "is a PyTorch pickle, which can run any code when it is opened, so tinyllm does not; get the "
    "model's Hugging Face folder, or save it with safetensors.torch.save_file(torch.load(FILE, "
    "weights_only=True), 'consolidated.safetensors')"
)
PathLike = str | os.PathLike[str]


def read_meta(folder: PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a folder in Meta's layout as a Hugging Face config and tensors, in their dtypes.

    q and k are copied, their rows reordered; the rest are mapped.

    Raises ConfigError for a key that is not known, CheckpointError for files that are not readable.
    """
    config, tensors = map_meta(folder)
    n_heads, n_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    return config, meta_to_hf(tensors, n_heads, n_kv_heads, plain(folder))


def map_meta(folder: PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Map a folder in Meta's layout: a Hugging Face config, and views under Meta's names.

    Raises ConfigError for a key that is not known, CheckpointError for files that are not readable.
    """
    folder = Path(folder)
    path = folder / "params.json"
    params = read_json(path, ConfigError, MAX_CONFIG)
    tensors = _read_tensors(folder)
    embedding = tensors.get("tok_embeddings.weight")
    if params.get("vocab_size") == -1 and embedding is not None and embedding.ndim:
        params["vocab_size"] = embedding.shape[0]  # Llama 1 leaves it to the tokenizer
    config = params_to_config(params, plain(path))
    if config["model_type"] == "llama":
        config["attention_bias"] = "layers.0.attention.wq.bias" in tensors
        config["mlp_bias"] = "layers.0.feed_forward.w1.bias" in tensors
    return config, tensors


def write_meta(folder: PathLike, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Write a folder in Meta's layout, in the tensors' own dtypes.

    Raises ConfigError for what params.json cannot say, CheckpointError where the disk refuses.
    """
    folder = Path(folder)
    params = config_to_params(config, plain(folder))
    weights = hf_to_meta(tensors, params["n_heads"], params["n_kv_heads"], plain(folder))
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
