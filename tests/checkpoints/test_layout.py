"""Every layout is told from the others by its files, and anything else is named."""

import json
import os

import numpy as np
import pytest

from checkpoints.llama_files import llama
from tinyllm.checkpoints import (
    layout_of,
    require_folder,
    write_checkpoint,
    write_llama2c,
    write_meta,
    write_tensors,
)
from tinyllm.errors import CheckpointError

NEEDED = {
    "hf/model.safetensors": "give the folder that it lies in",
    "hf/config.json": "give the folder that it lies in",
    "x.bin": "python -m tinyllm.convert makes a Hugging Face folder of it",
    "meta": "python -m tinyllm.convert makes a Hugging Face folder of it",
}


@pytest.fixture
def models(tmp_path):
    write_checkpoint(tmp_path / "hf", *llama())
    write_meta(tmp_path / "meta", *llama())
    write_llama2c(tmp_path / "x.bin", *llama())
    return tmp_path


def test_layouts_are_told_apart(models):
    assert layout_of(models / "hf") == "hf"
    assert layout_of(models / "meta") == "meta"
    assert layout_of(models / "x.bin") == "llama2c"
    assert layout_of(models / "hf/model.safetensors") == "safetensors"
    assert layout_of(models / "hf/config.json") == "config"
    (models / "hf/params.json").write_text("{}")
    assert layout_of(models / "hf") == "hf"


def test_a_file_of_weights_may_have_any_name(tmp_path):
    write_tensors(tmp_path / "weights", {"x": np.zeros(100, np.float32)})
    assert layout_of(tmp_path / "weights") == "safetensors"


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_no_folder_says_how_to_come_to_one(models, name):
    require_folder(models / "hf")
    with pytest.raises(CheckpointError, match=NEEDED[name]) as caught:
        require_folder(models / name)
    assert str(models / name) in str(caught.value)


OTHERS = {
    "a GGUF file": (b"GGUF" + bytes(99), "is a GGUF file"),
    "a pickle": (b"\x80\x04" + bytes(99), "is a PyTorch pickle"),
    "nothing": (b"", "is empty"),
    "noise": (b"noise" * 20, "expected a model's folder"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_anything_else_is_named(tmp_path, case):
    content, says = OTHERS[case]
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        layout_of(tmp_path / "x.bin")


def test_folders_without_a_config_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"is empty; expected model\.safetensors"):
        layout_of(tmp_path)
    write_tensors(tmp_path / "model.safetensors", {"x": np.zeros(1, np.float32)})
    with pytest.raises(CheckpointError, match=r"has weights, but no config\.json"):
        layout_of(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be opened"):
        layout_of(tmp_path / "absent")


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(CheckpointError, match="not a regular file"):
        layout_of(tmp_path / "x.json")


def test_a_json_file_is_taken_for_a_config(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))
    assert layout_of(tmp_path / "other.json") == "config"
