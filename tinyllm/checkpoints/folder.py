"""A model's folder as Hugging Face lays it out: config.json and the weights beside it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.checkpoints.diagnose import GGUF, NPZ, PICKLE, diagnose, refusal
from tinyllm.checkpoints.shards import read_stem, write_shards
from tinyllm.errors import ConfigError
from tinyllm.json_file import MEBIBYTE, read_json
from tinyllm.shown import plain

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_CONFIG = 4 * MEBIBYTE
MAX_SHARD = 5_000_000_000
_FOREIGN = {
    ".bin": PICKLE, ".pt": PICKLE, ".pth": PICKLE, ".ckpt": PICKLE, ".gguf": GGUF,
    ".npz": NPZ,
}  # fmt: skip
PathLike = str | os.PathLike[str]


def read_weights(folder: PathLike) -> dict[str, np.ndarray]:
    """Map the weights in a model's folder: tensors by name, as read-only views.

    Of model.safetensors and an index of shards, both there, the single file is read, and a warning
    says so.

    Raises CheckpointError where there are none, saying what is there instead, or a file is bad.
    """
    folder = Path(folder)
    tensors = read_stem(folder, "model")
    if tensors is not None:
        return tensors
    raise refusal(folder, what_is_there(folder))


def what_is_there(folder: Path) -> str:
    """Say why a folder has no weights that can be read, and what to do with those it has."""
    if not folder.is_dir():
        return "is a file; expected a model's folder" if folder.exists() else "no such folder"
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        return f"cannot be read: {error}"
    if "params.json" in names and SINGLE not in names:
        return (
            f"has no {SINGLE}; its params.json is of Meta's layout, of which "
            "python -m tinyllm.convert makes a Hugging Face folder"
        )
    if "adapter_config.json" in names:
        return f"is an adapter without its base model ({SINGLE}); merge the two first"
    for name in names:
        suffix = os.path.splitext(name)[1].lower()
        if suffix in _FOREIGN and (folder / name).is_file():
            return f"has no {SINGLE}; {name!r} {_kind(folder / name) or _FOREIGN[suffix]}"
    if not names:
        return f"is empty; expected {SINGLE} or {INDEX} in it"
    found = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
    return f"has no {SINGLE} and no {INDEX}, but {found}"


def _kind(path: Path) -> str | None:
    """What a file's first bytes say that it is."""
    try:
        with open(path, "rb") as file:
            return diagnose(file.read(512), path.stat().st_size)
    except OSError:
        return None


def read_config(folder: PathLike) -> dict[str, Any]:
    """Read config.json.

    Raises ConfigError where it is missing or not strict JSON.
    """
    return read_json(Path(folder) / "config.json", ConfigError, MAX_CONFIG)


def read_generation_config(folder: PathLike) -> dict[str, Any]:
    """Read generation_config.json; {} where there is none.

    Raises ConfigError where it is not strict JSON.
    """
    path = Path(folder) / "generation_config.json"
    return read_json(path, ConfigError, MAX_CONFIG) if os.path.lexists(path) else {}


def write_checkpoint(
    folder: PathLike,
    config: dict[str, Any],
    tensors: dict[str, np.ndarray],
    generation_config: dict[str, Any] | None = None,
    max_shard_bytes: int = MAX_SHARD,
) -> None:
    """Write a model's folder, which transformers reads too.

    Each file appears whole or not at all, config.json last. Weights that were in the folder are
    replaced: left beside the new ones, they could be read in their place.

    Raises ConfigError for a config that is not JSON; CheckpointError where the disk refuses.
    """
    folder = Path(folder)
    configs = {"config.json": _format_json(folder / "config.json", config)}
    if generation_config is not None:
        path = folder / "generation_config.json"
        configs[path.name] = _format_json(path, generation_config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_shards(folder, tensors, max_shard_bytes, "model")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise refusal(folder, f"cannot be written: {error}") from error
    for name, text in reversed(configs.items()):
        with atomic_write(folder / name) as file:
            file.write(text)


def _format_json(path: Path, config: dict[str, Any]) -> bytes:
    """Format a config: what the model is first, then the keys in order."""
    first = [key for key in ("architectures", "model_type") if key in config]
    try:
        ordered = {key: config[key] for key in [*first, *sorted(config.keys() - first)]}
        text = json.dumps(ordered, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{plain(path)}: cannot be written as JSON: {error}") from error
