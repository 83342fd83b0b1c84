"""tinyllm.info: a description that fits a terminal, or one JSON object."""

import json
from pathlib import Path

import pytest

from cli.commands import in_terminal, refused, run, variant
from tinyllm.convert import main as convert
from tinyllm.info import main, rows
from tinyllm.models.description import describe_config
from tinyllm.models.examples import example_config

PUBLISHED = Path(__file__).parents[1] / "models" / "published.json"


def answer(*words, code=0):
    assert main([str(word) for word in words]) == code


def test_a_folder_in_lines(model, capsys):
    answer(model)
    out, err = capsys.readouterr()
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(" "))
    assert lines["path"] == str(model)
    assert lines["format"] == "a Hugging Face folder"
    assert lines["family"] == "llama (LlamaForCausalLM)"
    assert lines["layers"] == "2 of d_model 16, d_ff 7"
    assert lines["heads"] == "4 for queries, 2 for keys and values, head_dim 4"
    assert lines["positions"] == "RoPE, default: theta 10,000"
    assert lines["BOS"] == "1 '<s>'"
    assert lines["EOS"] == "2 '</s>'"
    assert "problem" not in lines
    assert err == ""


def test_json_is_one_object_with_the_tensors_on_demand(model, capsys):
    answer(model, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["config"]["d_model"] == 16
    assert "list" not in found["tensors"]
    answer(model, "--json", "--tensors")
    assert len(json.loads(capsys.readouterr().out)["tensors"]["list"]) == found["tensors"]["count"]
    answer(model / "config.json", "--json", "--tensors")
    assert json.loads(capsys.readouterr().out)["tensors"] == {"list": []}


def test_every_tensor_has_a_line_on_demand(model, capsys):
    answer(model)
    before = capsys.readouterr().out
    answer(model, "--tensors")
    lines = capsys.readouterr().out.removeprefix(before).splitlines()
    assert any(line.split() == ["model.norm.weight", "F32", "16", "64", "B"] for line in lines)
    assert len(lines) == 21
    answer(model / "config.json", "--tensors")


def test_a_problem_is_told_with_the_rest_and_by_the_exit_code(model, tmp_path, capsys):
    folder = variant(model, tmp_path / "other", intermediate_size=8)
    answer(folder, code=1)
    out = capsys.readouterr().out
    assert "does not fit its config" in " ".join(out.split())
    assert "heads " in out
    answer(folder, "--json", code=1)
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1


def test_a_llama2c_file_has_no_keys_that_could_be_unread(model, tmp_path, capsys):
    assert convert([str(model), str(tmp_path / "a.bin"), "-q"]) == 0
    answer(tmp_path / "a.bin")
    assert "unread" not in capsys.readouterr().out
    answer(tmp_path / "a.bin", "--json")
    assert json.loads(capsys.readouterr().out)["unread_keys"] == []


@pytest.mark.parametrize("name", json.loads(PUBLISHED.read_text()))
def test_published_configs_fit_80_columns(name, tmp_path, capsys):
    values = json.loads(PUBLISHED.read_text())[name]["config"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    answer(path)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) < 80 for line in lines if not line.startswith("path"))
    assert f"{json.loads(PUBLISHED.read_text())[name]['parameters']:,}" in lines[3]


def test_windows_of_some_layers_are_told_in_ranges():
    rope = {"type": "rope", "kind": "yarn", "theta": 1e6, "scale": 1.1386294, "truncate": False}
    described = {
        "path": "x", "format": "x", "problems": [], "architecture": "x", "parameters": 1,
        "active_parameters": 1,
        "config": {
            "windows": [None, 5, 5, None, 5], "tie_embeddings": False, "family": "x", "n_layers": 5,
            "d_model": 1, "d_ff": 1, "n_heads": 1, "n_kv_heads": 1, "head_dim": 1, "max_seq_len": 1,
            "vocab_size": 1, "bos_id": None, "eos_ids": [], "qkv_bias": True, "o_bias": False,
            "mlp_bias": False, "qk_norm": True, "positions": rope, "experts": None, "latent": None,
            "layout": "post", "norm": "layernorm", "mlp": "gelu", "blocks": None,
        },
    }  # fmt: skip
    said = dict(rows(described))
    assert said["block"] == "post, of layernorm and gelu"
    assert "experts" not in said
    assert said["window"] == "5 tokens in layers 1-2, 4"
    assert said["extras"] == "biases on queries, keys and values, norms on queries and keys"
    assert said["positions"] == "RoPE, yarn: theta 1,000,000, scale 1.13863, truncate no"
    described["config"]["positions"] = {"type": "alibi"}
    assert dict(rows(described))["positions"] == "alibi"
    assert said["BOS"] == said["EOS"] == "none"


def test_experts_are_told_with_what_a_token_passes_of_them():
    described = describe_config(example_config("deepseek_v2"))
    said = dict(rows(described | {"path": "x", "format": "x", "problems": []}))
    total, active = described["parameters"], described["active_parameters"]
    assert total - active == 2 * 3 * 6 * 3  # two of the experts of one block
    assert said["parameters"] == f"{total:,}, of which a token passes {active:,}"
    assert (
        said["experts"]
        == "4 of d_ff 3, 2 for each token, and one of d_ff 6 for all, from layer 1 on"
    )
    assert said["extras"] == "latent attention, 5 wide"
    experts = described["config"]["experts"]
    experts["routing"] |= {"groups": 2, "groups_kept": 1, "capacity": 1.5}
    said = dict(rows(described | {"path": "x", "format": "x", "problems": []}))
    assert ", of 1 in 2 groups, " in said["experts"]
    assert said["experts"].endswith(", each takes 1.5 times its share")


def test_names_cannot_command_a_terminal(model, tmp_path):
    folder = variant(model, tmp_path / "two\nlines\x1b[31m", **{"_\x1b[32m": 1})
    code, screen = in_terminal("tinyllm.info", folder, "--tensors")
    assert code == 0
    assert "\x1b" not in screen
    code, out, err = run("tinyllm.info", folder)
    assert (code, err) == (0, b"")
    assert b"\x1b" not in out


def test_refusals_are_one_line(tmp_path, capsys):
    refused(main, [tmp_path], capsys)
    refused(main, ["no such/thing"], capsys)
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(99))
    assert "is a GGUF file" in refused(main, [tmp_path / "x.gguf"], capsys)


def test_without_a_path_it_is_the_model_that_ships(capsys):
    assert main([]) == 0
    assert "2,361,408" in capsys.readouterr().out
