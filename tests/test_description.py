"""tinyllm.description: every layout is described from headers and configs, problems and all."""

import json

import numpy as np
import pytest

import tinyllm
from checkpoints.llama_files import llama
from conftest import data
from tiny import random_params, tiny_config
from tiny_vocabulary import PIECES, llama2c_bytes
from tinyllm.checkpoints import write_checkpoint, write_llama2c, write_meta, write_tensors
from tinyllm.description import describe
from tinyllm.errors import CheckpointError, ConfigError
from tinyllm.models.config_json import write_config_json
from tinyllm.models.rope import Rope

CONFIG = tiny_config(
    family="qwen3", vocab_size=len(PIECES), qk_norm=True, windows=(None, 5), max_seq_len=100,
    positions=Rope(theta=1e4, kind="yarn", factor=4.0, original_context=25, scale=1.1), bos_id=1,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    values = write_config_json(CONFIG, "float32") | {"initializer_range": 0.02}
    params = random_params(CONFIG, dtype=np.float32)
    write_checkpoint(tmp_path, values, params, {"eos_token_id": [5, 7]})
    (tmp_path / "tokenizer.bin").write_bytes(llama2c_bytes())
    return tmp_path


def test_a_folder_is_described_whole(folder):
    found = describe(folder)
    assert json.loads(json.dumps(found))["config"]["positions"] == {
        "type": "rope", "kind": "yarn", "theta": 1e4, "factor": 4.0, "original_context": 25,
        "beta_fast": 32.0, "beta_slow": 1.0, "truncate": True, "scale": 1.1,
    }  # fmt: skip
    model = tinyllm.load(folder)
    assert found["problems"] == []
    assert (found["layout"], found["architecture"]) == ("hf", "Qwen3ForCausalLM")
    assert found["parameters"] == sum(p.size for p in model.params.values())
    assert found["memory"]["float32"] == sum(p.nbytes for p in model.params.values())
    assert found["memory"]["bfloat16"] * 2 == found["memory"]["float32"]
    assert found["tensors"]["dtypes"] == {"F32": len(model.params)}
    assert {entry["name"] for entry in found["tensors"]["list"]} == set(model.params)
    assert set(found["eos_ids"]) == set(model.eos_ids) == {2, 5, 7}
    assert found["tokenizer"]["size"] == len(PIECES)
    assert found["unread_keys"] == ["initializer_range", "torch_dtype"]
    assert found["config"]["windows"] == (None, 5)


def test_no_weight_is_read(folder, monkeypatch):
    """A NaN in every weight is no matter, and a head beside a tied table is not compared."""
    (folder / "model.safetensors").unlink()
    params = {name: x * np.nan for name, x in random_params(CONFIG, dtype=np.float32).items()}
    values = write_config_json(CONFIG, "float32") | {"tie_word_embeddings": True}
    write_checkpoint(folder, values, params)
    assert describe(folder)["problems"] == []


def test_the_other_layouts_are_described_and_say_how_to_load_them(tmp_path):
    config, tensors = llama(layers=3)
    write_llama2c(tmp_path / "x.bin", config, tensors)
    write_meta(tmp_path / "meta", config, tensors)
    write_checkpoint(tmp_path / "hf", config, tensors)
    whole = describe(tmp_path / "hf")
    for name in ("x.bin", "meta", "hf/config.json"):
        found = describe(tmp_path / name)
        assert found["parameters"] == whole["parameters"]
        assert found["config"]["n_layers"] == 3
        assert "convert" in found["to_load"] or "folder" in found["to_load"]
        if "tensors" in found:
            assert found["tensors"]["parameters"] == whole["parameters"]
    alone = describe(tmp_path / "hf/model.safetensors")
    assert alone["tensors"] == whole["tensors"]
    assert "config" not in alone


def test_weights_that_are_missing_are_a_problem_and_the_rest_is_told(folder):
    (folder / "model.safetensors").unlink()
    found = describe(folder)
    assert found["parameters"]
    assert "tensors" not in found
    (problem,) = found["problems"]
    assert "has no model.safetensors" in problem


def test_everything_that_keeps_a_model_from_loading_is_a_problem(folder):
    write_tensors(folder / "model.safetensors", {"x": np.zeros(3, np.float32)})
    (folder / "generation_config.json").write_text('{"eos_token_id": "x"}')
    found = describe(folder)
    plan, generation = found["problems"]
    assert "does not fit its config" in plan
    assert "eos_token_id is 'x'" in generation
    (folder / "config.json").write_text('{"model_type": "mamba"}')
    (config,) = describe(folder)["problems"]
    assert "model_type is 'mamba'" in config


def test_a_tokenizer_of_another_model_is_a_problem(folder):
    values = write_config_json(CONFIG, "float32") | {"vocab_size": 9}
    (folder / "config.json").write_text(json.dumps(values))
    assert any("the tokenizer has ids up to" in line for line in describe(folder)["problems"])


def test_what_is_nothing_is_an_error(tmp_path):
    with pytest.raises(CheckpointError):
        describe(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError):
        describe(tmp_path / "config.json")


def test_real_weights():
    found = describe(data("models/stories260K"))
    assert found["problems"] == []
    assert found["parameters"] == found["tensors"]["parameters"] == 260_032
    assert found["tokenizer"]["kind"] == "SentencePiece"
    assert found["config"]["n_kv_heads"] == 4
