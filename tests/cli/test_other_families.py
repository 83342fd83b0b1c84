"""The commands on models whose files are not named as Llama's: GPT-2's transpose and join them."""

import json

import numpy as np
import pytest

import tinyllm
from checkpoints.llama_files import assert_same
from cli.commands import refused
from models.test_families import SMALL, read
from tiny import random_params
from tiny_vocabulary import PIECES, llama2c_bytes
from tinyllm.checkpoints import read_config, read_weights, write_checkpoint
from tinyllm.convert import main as convert
from tinyllm.generate import main as generate
from tinyllm.info import main as info
from tinyllm.models.config_json import write_config_json
from tinyllm.models.weights import stored_tensors
from tinyllm.prune import main as prune


@pytest.fixture(params=["gpt2", "gpt_neox", "falcon"])
def folder(request, tmp_path):
    config = read(SMALL[request.param] | {"vocab_size": len(PIECES)})
    path, params = tmp_path / "model", random_params(config, dtype=np.float32)
    write_checkpoint(path, write_config_json(config, "float32"), stored_tensors(params, config))
    (path / "tokenizer.bin").write_bytes(llama2c_bytes())
    return path


def call(main, *words):
    assert main([str(word) for word in words]) == 0


def test_a_model_generates_and_is_described(folder, capsys):
    call(generate, "-m", folder, "the in", "-n", "3", "--seed=1")
    call(info, folder, "--json")
    described = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert described["problems"] == []
    assert described["config"]["norm"] == "layernorm"


def test_converting_to_the_same_layout_loses_nothing(folder, tmp_path, capsys):
    call(convert, folder, tmp_path / "out")
    assert_same(read_weights(tmp_path / "out"), read_weights(folder))
    capsys.readouterr()
    said = refused(convert, [folder, tmp_path / "x.bin"], capsys)
    assert "cannot hold model_type" in said


def test_pruning_writes_the_files_of_the_family(folder, tmp_path):
    call(prune, "-m", folder, "--method=magnitude", "--out", tmp_path / "out", "--eval-tokens=0")
    before, after = tinyllm.load(folder).params, tinyllm.load(tmp_path / "out").params
    assert read_weights(tmp_path / "out").keys() == read_weights(folder).keys()
    assert read_config(tmp_path / "out").keys() >= read_config(folder).keys()
    for name, x in after.items():
        pruned = name.startswith("model.layers") and x.ndim == 2
        assert np.mean(x == 0) == pytest.approx(0.5 if pruned else 0.0, abs=0.01), name
        assert np.array_equal(x[x != 0], before[name][x != 0])


def test_removing_a_block_does_too(folder, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the ab er in bins " * 200, encoding="utf-8")
    call(
        prune, "-m", folder, "--method=influence", "--remove=1", "--calib", text, "--samples=16",
        "--seqlen=16", "--eval-tokens=0", "--out", tmp_path / "out",
    )  # fmt: skip
    smaller = tinyllm.load(tmp_path / "out")
    assert smaller.config.n_layers == 1
    assert smaller.config.family == tinyllm.load(folder).config.family
