"""tinyllm.translate: a line for each line; what other commands say of such a model."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import tinyllm
from cli.commands import refused
from tinyllm.chat import main as chat
from tinyllm.checkpoints import write_checkpoint
from tinyllm.evaluate import main as evaluate
from tinyllm.generate import main as generate
from tinyllm.info import main as info
from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import architecture, understand
from tinyllm.models.examples import EXAMPLES, random_params
from tinyllm.models.weights import stored_tensors
from tinyllm.prune import main as prune
from tinyllm.translate import main

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "sat", "##s", "."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("t5") / "model"
    values = {"model_type": "t5", **EXAMPLES["t5"], "eos_token_id": 3}
    config = understand(KeyReader(values, "test"))
    params = random_params(config, np.random.default_rng(0))
    stored = stored_tensors({k: x.astype(np.float32) for k, x in params.items()}, config)
    write_checkpoint(path, architecture(config).write_config(config, "float32"), stored)
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return path


def out(capsys, *words):
    assert main([str(word) for word in words]) == 0
    printed, err = capsys.readouterr()
    assert err == ""
    return printed


def test_the_command_prints_what_the_library_finds(folder, capsys):
    model = tinyllm.load(folder)
    options = ("--beams", 3, "--max-tokens", 5, "--alpha", 1.0)
    found = model.translate("the cat sat.", beams=3, max_tokens=5, alpha=1.0)
    assert out(capsys, "-m", folder, "the cat sat.", *options) == found.text + "\n"
    row = json.loads(out(capsys, "-m", folder, "the cat sat.", "--json", *options))
    assert row["tokens"] == found.tokens
    assert row["finish_reason"] == found.finish_reason


def test_each_line_of_standard_input_is_a_text(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"the cat\nthe dog.\n")))
    lines = out(capsys, "-m", folder, "--json", "--max-tokens", 3, "-").splitlines()
    alone = [
        out(capsys, "-m", folder, "--json", "--max-tokens", 3, x) for x in ("the cat", "the dog.")
    ]
    assert [json.loads(line)["tokens"] for line in lines] == [
        json.loads(line)["tokens"] for line in alone
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--beams", "0"], "beams"),
        (["--max-tokens", "0"], "max_tokens"),
        (["--alpha", "-1"], "alpha"),
    ],
)
def test_numbers_out_of_range_are_refused(folder, capsys, options, says):
    assert says in refused(main, ["the cat", "-m", folder, *options], capsys)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (generate, ["the cat"]),
        (chat, ["--template", "plain"]),
        (evaluate, ["perplexity", "--text", "TEXT"]),
        (prune, ["--method", "magnitude", "--out", "OUT"]),
    ],
)
def test_what_it_is_not_for_is_refused(folder, command, words, tmp_path, capsys, monkeypatch):
    (tmp_path / "TEXT").write_text("the cat sat.")
    monkeypatch.chdir(tmp_path)
    said = refused(command, [*words, "-m", folder], capsys)
    assert "translate" in said or "decoder" in said
    assert not (tmp_path / "OUT").exists()


def test_no_model_ships_that_translates(capsys):
    said = refused(main, ["x"], capsys)
    assert said == "the model that ships is not for translate: give -m a Marian's folder"


def test_a_decoder_translates_nothing(model, capsys):
    said = refused(main, ["x", "-m", model], capsys)
    assert "python -m tinyllm generate is what it is for" in said


def test_info_tells_of_both_sides(folder, capsys):
    assert info([str(folder), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["architecture"] == "T5ForConditionalGeneration"
    assert described["problems"] == []
    assert info([str(folder)]) == 0
    assert "t5" in capsys.readouterr().out.lower()
