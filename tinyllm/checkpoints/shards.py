"""A checkpoint in several safetensors files, with an index that says which file has which tensor.

model.safetensors.index.json
    {"metadata": {"total_size": 29},
     "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors", ...}}
"""

import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.checkpoints.diagnose import refusal
from tinyllm.checkpoints.safetensors_file import read_tensors, write_tensors
from tinyllm.errors import CheckpointError
from tinyllm.json_file import MEBIBYTE, read_json
from tinyllm.shown import shown

MAX_INDEX = 16 * MEBIBYTE  # the index of a model of 671 billion parameters has 9
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.safetensors\Z")  # $ allows a line break
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])\.", re.IGNORECASE)  # to Windows


def read_stem(folder: Path, stem: str) -> dict[str, np.ndarray] | None:
    """Map `stem`.safetensors, or the shards of its index; None where there is neither.

    Where there are both, the single file is read, as transformers does, and a warning says so.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if os.path.lexists(single):  # a dangling link too: its error says more than "not found"
        if os.path.lexists(index):
            warnings.warn(f"{single} is read; {index.name} beside it is not", stacklevel=3)
        return read_tensors(single)
    return read_shards(index) if os.path.lexists(index) else None


def read_shards(index: Path) -> dict[str, np.ndarray]:
    """Map all shards that the file `index` names, which lie beside it; tensors as views.

    A shard's name is a plain file name; the file may be a link, as in the Hugging Face cache.

    Raises CheckpointError where index and shards do not agree about every tensor.
    """
    weight_map, total_size = _read_index(index)
    shards = dict.fromkeys(weight_map.values())
    missing = [name for name in shards if not (index.parent / name).exists()]
    if missing:
        raise refusal(
            index,
            f"{len(missing)} of {len(shards)} files are missing: {', '.join(missing[:5])}"
            f"{', …' if len(missing) > 5 else ''}; the download is incomplete",
        )
    tensors: dict[str, np.ndarray] = {}
    for shard in shards:
        for name, tensor in read_tensors(index.parent / shard).items():
            if weight_map.get(name) != shard:
                elsewhere = weight_map.get(name)
                says = f"places it in {elsewhere}" if elsewhere else "does not name it"
                raise refusal(
                    index.parent / shard, f"has tensor {shown(name)}; {index.name} {says}"
                )
            tensors[name] = tensor
    for name, shard in weight_map.items():
        if name not in tensors:
            raise refusal(
                index.parent / shard,
                f"has no tensor {shown(name)}, which {index.name} places there",
            )
    size = sum(tensor.nbytes for tensor in tensors.values())
    if total_size not in (None, size):
        warnings.warn(f"{index}: total_size is {total_size}; the tensors have {size}", stacklevel=3)
    return tensors


def _read_index(index: Path) -> tuple[dict[str, str], Any]:
    """Return each tensor's shard, all names checked, and the stated number of bytes."""
    parsed = read_json(index, CheckpointError, MAX_INDEX)
    weight_map, metadata = parsed.get("weight_map"), parsed.get("metadata")
    if not isinstance(weight_map, dict):
        raise refusal(index, "has no weight_map that maps tensors to files")
    for shard in weight_map.values():
        if not isinstance(shard, str) or not _SHARD.match(shard) or _DEVICE.match(shard):
            raise refusal(
                index, f"names the file {shown(shard)}; expected a name such as model-1.safetensors"
            )
    return weight_map, metadata.get("total_size") if isinstance(metadata, dict) else None


def write_shards(
    folder: Path, tensors: dict[str, np.ndarray], max_shard_bytes: int, stem: str
) -> None:
    """Write `stem`.safetensors, or shards of at most `max_shard_bytes` and their index.

    A tensor is never split. Files of the same stem that were in the folder go once the new ones are
    there: left beside them, they could be read in their place.

    Raises CheckpointError where a tensor cannot be written.
    """
    shards = list(_split(tensors, max_shard_bytes))
    names = [f"{stem}-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [f"{stem}.safetensors"]
    for name, shard in zip(names, shards, strict=True):
        write_tensors(folder / name, shard, {"format": "pt"})  # transformers reads no other
    if len(shards) > 1:
        names.append(_write_index(folder, stem, names, shards))
    for old in _of_stem(folder, stem) - set(names):
        (folder / old).unlink(missing_ok=True)


def _write_index(
    folder: Path, stem: str, names: list[str], shards: list[dict[str, np.ndarray]]
) -> str:
    """Write the index of these files; return its name."""
    weight_map = {n: file for file, shard in zip(names, shards, strict=True) for n in shard}
    total_size = sum(tensor.nbytes for shard in shards for tensor in shard.values())
    index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
    name = f"{stem}.safetensors.index.json"
    with atomic_write(folder / name) as file:
        file.write(json.dumps(index, indent=2, ensure_ascii=False).encode("utf-8") + b"\n")
    return name


def _of_stem(folder: Path, stem: str) -> set[str]:
    """The names that `write_shards` could have given."""
    pattern = (
        rf"{stem}(-[0-9]{{5}}-of-[0-9]{{5}})?\.safetensors\Z|{stem}\.safetensors\.index\.json\Z"
    )
    return {name for name in os.listdir(folder) if re.match(pattern, name)}


def _split(tensors: dict[str, np.ndarray], max_shard_bytes: int) -> Iterator[dict[str, np.ndarray]]:
    """Fill one shard after the other, in the order given; at least one, maybe empty."""
    shard: dict[str, np.ndarray] = {}
    size = 0
    for name, tensor in tensors.items():
        if shard and size + tensor.nbytes > max_shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
    yield shard
