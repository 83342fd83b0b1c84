"""In which layout a model lies on the disk, and how to come to one that loads."""

import os
from pathlib import Path

from tinyllm.checkpoints.diagnose import LLAMA2C, diagnose, refusal
from tinyllm.checkpoints.folder import INDEX, SINGLE, what_is_there
from tinyllm.checkpoints.regular_file import open_regular

LAYOUTS = {
    "hf": "a Hugging Face folder",
    "meta": "a folder in Meta's layout",
    "llama2c": "a llama2.c file",
    "safetensors": "a safetensors file",
    "config": "a config without weights",
}
_CONVERT = "python -m tinyllm.convert makes a Hugging Face folder of it, which loads"
TO_LOAD = {
    "meta": _CONVERT,
    "llama2c": _CONVERT,
    "safetensors": "give the folder that it lies in, with config.json",
    "config": "give the folder that it lies in",
}


def layout_of(path: Path) -> str:
    """Return which of LAYOUTS lies at a path.

    Raises CheckpointError for anything else, saying what it is.
    """
    if path.is_dir():
        if os.path.lexists(path / "config.json"):
            return "hf"
        if (path / "params.json").exists():
            return "meta"
        if any(os.path.lexists(path / name) for name in (SINGLE, INDEX)):
            raise refusal(path, "has weights, but no config.json that says what they are")
        raise refusal(path, what_is_there(path))
    with open_regular(path) as file:
        size, head = os.fstat(file).st_size, os.read(file, 512)
    kind = diagnose(head, size)
    if kind == LLAMA2C:
        return "llama2c"
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return "safetensors"
    if path.suffix == ".json":
        return "config"
    raise refusal(path, kind or "is a file of an unknown kind; expected a model's folder")


def require_folder(path: Path) -> None:
    """Raise CheckpointError unless a Hugging Face folder lies there, saying how to come to one."""
    layout = layout_of(path)
    if layout != "hf":
        raise refusal(path, f"is {LAYOUTS[layout]}; {TO_LOAD[layout]}")
