"""Describe what lies at a path, from headers and configs alone: no weight is read.

    description = describe("path/to/a/model")      a dict that JSON can hold
    description["parameters"], description["memory"]["float32"], description["problems"]

What keeps a model from being loaded is a line under "problems"; what could still be found out
stands beside it.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.checkpoints import (
    find_model,
    layout_of,
    map_llama2c,
    map_meta,
    read_config,
    read_generation_config,
    read_tensors,
    read_weights,
)
from tinyllm.checkpoints.dtypes import DTYPES, little_endian
from tinyllm.checkpoints.layout import LAYOUTS, TO_LOAD
from tinyllm.errors import CheckpointError, ConfigError, TinyllmError
from tinyllm.json_file import read_json
from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import Config, understand
from tinyllm.models.config_json import read_eos
from tinyllm.models.description import describe_config
from tinyllm.models.weights import check_params
from tinyllm.shown import plain
from tinyllm.tokenizers import Tokenizer, has_tokenizer, load_tokenizer

Tensors = dict[str, np.ndarray]


def describe(name_or_path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Describe a model's folder, an id in the local cache, or a single file of one.

    Raises TinyllmError where there is nothing that can be described.
    """
    path = find_model(name_or_path)
    layout = layout_of(path)
    problems: list[str] = []
    described: dict[str, Any] = {
        "path": plain(path),
        "layout": layout,
        "format": LAYOUTS[layout],
        "problems": problems,
    }
    values, tensors = _open(path, layout, problems)
    if tensors is not None:
        described["tensors"] = _describe_tensors(tensors)
    config = None
    if values is not None:
        keys = KeyReader(values, plain(path))
        try:
            config = understand(keys)
        except ConfigError as error:
            problems.append(str(error))
        else:
            unread = [] if layout == "llama2c" else keys.unread()  # whose file has no keys
            described |= describe_config(config) | {"unread_keys": unread}
    if config and tensors is not None and layout == "hf":
        _check_plan(tensors, config, plain(path), problems)
    if layout == "hf":
        described |= _describe_text(path, config, problems)
    if layout in TO_LOAD:
        described["to_load"] = TO_LOAD[layout]
    return described


def _open(
    path: Path, layout: str, problems: list[str]
) -> tuple[dict[str, Any] | None, Tensors | None]:
    """Return the config and the tensors, as far as the layout has them."""
    match layout:
        case "llama2c":
            return map_llama2c(path)
        case "meta":
            return map_meta(path)
        case "safetensors":
            return None, read_tensors(path)
        case "config":
            return read_json(path, ConfigError), None
    try:
        return read_config(path), read_weights(path)
    except CheckpointError as error:
        problems.append(str(error))
        return read_config(path), None


def _check_plan(tensors: Tensors, config: Config, where: str, problems: list[str]) -> None:
    """Compare names and shapes; of a head beside a tied table, only reading could tell more."""
    try:
        check_params(tensors, config, where=where, tie=config.tie_embeddings or None)
    except CheckpointError as error:
        problems.append(str(error))


def _describe_tensors(tensors: Tensors) -> dict[str, Any]:
    names = {dtype: name for name, dtype in DTYPES.items()}
    listed: list[dict[str, Any]] = [
        {
            "name": name,
            "dtype": names[little_endian(tensor.dtype)],
            "shape": list(tensor.shape),
            "bytes": tensor.nbytes,
        }
        for name, tensor in tensors.items()
    ]
    return {
        "count": len(tensors),
        "parameters": sum(tensor.size for tensor in tensors.values()),
        "bytes": sum(tensor.nbytes for tensor in tensors.values()),
        "dtypes": dict(Counter(entry["dtype"] for entry in listed)),
        "list": listed,
    }


def _describe_text(folder: Path, config: Config | None, problems: list[str]) -> dict[str, Any]:
    """Describe the tokenizer, and which ids end a text: config, generation and tokenizer say so."""
    described: dict[str, Any] = {}
    ends = dict.fromkeys(config.eos_ids if config else ())
    tokenizer = None
    try:
        tokenizer = load_tokenizer(folder) if has_tokenizer(folder) else None
        where = plain(folder / "generation_config.json")
        if config:
            keys = KeyReader(read_generation_config(folder), where)
            ends |= dict.fromkeys(read_eos(keys, config.vocab_size))
    except TinyllmError as error:
        problems.append(str(error))
    if tokenizer is not None:
        described["tokenizer"] = _describe_tokenizer(tokenizer)
        ends |= {} if tokenizer.eos_id is None else {tokenizer.eos_id: None}
        if config and tokenizer.vocab_size > config.vocab_size:
            problems.append(
                f"{plain(folder)}: the tokenizer has ids up to {tokenizer.vocab_size - 1}, the "
                f"model has {config.vocab_size} rows of embeddings"
            )
    return described | {"eos_ids": list(ends)}


def _describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    file = next(iter(tokenizer.sources))
    kinds = {"tokenizer.model": "SentencePiece", "tokenizer.bin": "SentencePiece, from llama2.c"}
    if file == "tokenizer.json":
        kind = json.loads(tokenizer.sources[file])["model"].get("type", "BPE")
    else:
        kind = kinds.get(file, "vocabulary")
    return {
        "file": file,
        "kind": kind,
        "size": tokenizer.vocab_size,
        "special": tokenizer.special_tokens,
        "bos_id": tokenizer.bos_id,
        "eos_id": tokenizer.eos_id,
        "add_bos": tokenizer.add_bos,
    }
