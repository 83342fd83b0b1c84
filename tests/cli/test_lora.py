"""tinyllm.train --lora: adapters of a model, beside it and merged."""

import json

import numpy as np
import pytest

import tinyllm
from cli.commands import refused, variant
from cli.test_train import SMALL, files, rows
from tinyllm.adaptation.lora import merged
from tinyllm.adaptation.peft import read_adapter
from tinyllm.checkpoints import read_weights
from tinyllm.train import main

LORA = [*SMALL[:3], "--eval-every=2", "--save-every=2", "--eval-windows=4", "--lr=0.01", "--lora=2"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the ab er in bins a the in er the " * 20)
    return path


def train(text, model, out, *words):
    return main(["--data", str(text), "--model", str(model), "--out", str(out), *LORA, *words])


def test_the_folder_has_the_adapters_and_the_merged_model(text, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert train(text, model, out, "--lora-targets=q_proj,mlp.down_proj") == 0
    base, now = tinyllm.load(model), tinyllm.load(out)
    assert now.config == base.config
    adapters, lora = read_adapter(out / "adapter", base.config)
    assert (lora.rank, lora.alpha) == (2, 4.0)
    size = sum(x.size for x in adapters.values())
    assert capsys.readouterr().err.startswith(f"{size} parameters · ")
    wanted = merged(base.xp, base.params, adapters, lora)
    changed = {name for name, x in now.params.items() if (x != base.params[name]).any()}
    assert changed == {
        f"model.layers.{i}.{m}_proj.weight" for i in (0, 1) for m in ("self_attn.q", "mlp.down")
    }
    for name, x in now.params.items():
        np.testing.assert_array_equal(x, wanted[name])
    said = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == str(model)
    assert rows(out)[-1]["val_loss"] < rows(out)[0]["loss"]


def test_adapters_in_two_sittings_are_those_of_one(text, model, tmp_path, capsys, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(text, model, whole) == 0
    assert train(text, model, parts, "--until=3") == 0
    monkeypatch.chdir(tmp_path)
    assert main(["--resume", "parts"]) == 0
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_a_run_goes_on_with_the_same_base_and_adapters_only(text, model, tmp_path, capsys):
    base = variant(model, tmp_path / "base")
    assert train(text, base, tmp_path / "out", "--until=2", "-q") == 0
    before = files(tmp_path / "out")
    line = refused(main, ["--resume", tmp_path / "out", "--lora-alpha=3", "-q"], capsys)
    assert "lora" in line
    assert "start in a new folder" in line
    weights = {name: np.array(x) for name, x in read_weights(base).items()}
    weights["model.norm.weight"] += 1
    from tinyllm.checkpoints import write_tensors

    write_tensors(base / "model.safetensors", weights)
    assert "was written with base " in refused(main, ["--resume", tmp_path / "out", "-q"], capsys)
    assert files(tmp_path / "out") == before


def test_who_is_sparse_is_told_what_merging_does(text, model, tmp_path, capsys):
    from tinyllm.prune import main as prune

    sparse, words = tmp_path / "sparse", ["--method=magnitude", "--sparsity=0.5", "-q"]
    assert prune(["-m", str(model), *words, "--out", str(sparse)]) == 0
    capsys.readouterr()
    assert train(text, sparse, tmp_path / "out", "--lora-targets=q_proj") == 0
    assert "note: 50% of these matrices are zero; merged, hardly any" in capsys.readouterr().err


def test_nothing_is_overwritten(text, model, tmp_path, capsys):
    base = variant(model, tmp_path / "base")
    before = files(base)
    words = ["--data", text, "--model", base, "--out", base, *LORA]
    assert (
        "has config.json, which is of no run and would be replaced; give another --out"
        in refused(main, words, capsys)
    )
    assert files(base) == before


BAD = {
    "rank 0": (["--lora=0"], "the rank is 0, expected at least 1"),
    "alpha": (["--lora-alpha=0"], "alpha is 0.0, expected above 0"),
    "targets": (["--lora-targets=qkv"], "no linear map of the model's blocks is called 'qkv'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_one_line_and_leaves_nothing(text, model, tmp_path, capsys, case):
    words, line = BAD[case]
    out = tmp_path / "out"
    words = ["--data", text, "--model", model, "--out", out, *LORA, *words]
    assert line in refused(main, words, capsys)
    assert not out.exists()


def test_adapters_are_of_a_model(text, tmp_path, capsys):
    words = ["--data", text, "--out", tmp_path / "out", *SMALL]
    line = refused(main, [*words, "--lora=2"], capsys)
    assert line == "--lora trains adapters of a model that is there: name it with --model"
    assert "are of use with --lora R" in refused(main, [*words, "--lora-alpha=2"], capsys)
