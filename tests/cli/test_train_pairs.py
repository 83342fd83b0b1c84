"""tinyllm.train on pairs of texts: new encoder-decoders, resumed ones, and what does not pair."""

import json
import re

import numpy as np
import pytest

import tinyllm
from cli.commands import refused
from tinyllm.evaluate import main as evaluate
from tinyllm.models.architecture import kind_name
from tinyllm.tokenizers import train_byte_level_bpe
from tinyllm.train import main
from tinyllm.translate import main as translate

SMALL = [
    "--steps=4", "--batch-size=2", "--seq-len=12", "--d-model=8", "--layers=1", "--heads=2",
    "--eval-every=2", "--save-every=2", "--lr=0.01",
]  # fmt: skip


@pytest.fixture
def files(tmp_path):
    (tmp_path / "de").write_text("das haus\nder hund\n\ndie katze\ndas tier\n" * 8)
    (tmp_path / "en").write_text("the house\nthe dog\n\nthe cat\nan animal of a kind\n" * 8)
    return tmp_path


def words(files, arch, *more, target="en"):
    data = ["--data", str(files / "de"), "--target", str(files / target), "--arch", arch]
    return [*data, *SMALL, *more]


@pytest.mark.parametrize("arch", ["marian", "bart", "t5"])
def test_a_new_model_of_pairs_translates(files, arch, capsys):
    out = files / "out"
    assert main([*words(files, arch, "--tie=no"), "--out", str(out)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("16 of 40 pairs of " + str(files / "de") + " are left out: blank, or "
                             "longer than 12 tokens")  # fmt: skip
    assert "23 pairs to learn from, 1 to evaluate on" in lines[1]
    assert f"python -m tinyllm.translate --model {out} PROMPT" in lines[-1]
    model = tinyllm.load(out)
    config = model.config
    assert (kind_name(config), config.pad_id, config.start_id, config.eos_ids) == (arch, 0, 0, (1,))
    assert translate(["-m", str(out), "der hund", "--max-tokens", "3"]) == 0
    row = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["val_loss"] > 0


def test_without_targets_it_writes_what_was_taken_out(files):
    out = files / "out"
    made = ["--data", str(files / "de"), "--arch", "t5", *SMALL, "--out", str(out)]
    assert main(made) == 0
    model = tinyllm.load(out)
    assert model.config.vocab_size == 358
    assert model.tokenizer.special_tokens["<extra_id_99>"] == 101
    assert main(["--resume", str(out), "--steps", "6"]) == 0


def test_words_are_learnt_from_both_sides(files):
    assert main([*words(files, "t5", "--vocab=268"), "--out", str(files / "out")]) == 0
    tokenizer = tinyllm.load(files / "out").tokenizer
    assert len(tokenizer.encode(" hund")) < 5
    assert len(tokenizer.encode("the")) == 1


def test_a_run_in_two_parts_is_the_whole_run(files):
    whole, parts = files / "whole", files / "parts"
    assert main([*words(files, "marian"), "--out", str(whole)]) == 0
    assert main([*words(files, "marian"), "--out", str(parts), "--until=2"]) == 0
    assert main(["--resume", str(parts)]) == 0
    one, other = tinyllm.load(whole).params, tinyllm.load(parts).params
    for name, x in one.items():
        np.testing.assert_array_equal(x, other[name], err_msg=name)


def test_a_separator_beside_targets_is_refused(files, capsys):
    made = [*words(files, "t5", "--separator=x"), "--out", str(files / "out")]
    assert "--separator is not read beside --target" in refused(main, made, capsys)
    assert main([*made, "--vocab=265", "--quiet"]) == 0  # the tokenizer learns from documents
    assert main(["--resume", str(files / "out"), "--steps=5", "--quiet"]) == 0


def test_lines_are_the_same_in_training_and_evaluation(files, capsys):
    """A page feed, or a line separator of Unicode, ends none."""
    (files / "de").write_text("das\fhaus\r\nder hund\n" * 8, newline="")
    (files / "en").write_text("the\u2028house\nthe dog\n" * 8)
    out = files / "out"
    assert main([*words(files, "marian"), "--seq-len=32", "--out", str(out)]) == 0
    assert "16 pairs to learn from, none to evaluate on" in capsys.readouterr().err
    judged = ["translation", "-m", out, "--text", files / "de", "--target", files / "en", "--json"]
    assert evaluate([str(word) for word in [*judged, "--beams=1", "--max-tokens=1"]]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 16
    assert translate(["-m", str(out), "das\fhaus", "--max-tokens=1"]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_a_model_of_a_config_takes_the_tokenizer_s_ids(files):
    values = {
        "model_type": "marian", "vocab_size": 9, "d_model": 8, "pad_token_id": 8,
        "max_position_embeddings": 16, "decoder_start_token_id": 8,
        **{f"{side}_{key}": n for side in ("encoder", "decoder")
           for key, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 5))},
    }  # fmt: skip
    (files / "config.json").write_text(json.dumps(values))
    made = ["--data", str(files / "de"), "--target", str(files / "en"), "--steps=2", "--seq-len=12"]
    made += ["--config", str(files / "config.json")]
    assert main([*made, "--out", str(files / "out")]) == 0
    config = tinyllm.load(files / "out").config
    assert (config.vocab_size, config.pad_id, config.start_id) == (258, 0, 0)


BAD = {
    "no targets and no sentinels": (
        ["--data=de", "--arch=bart", "--tokenizer=words"], "<extra_id_0> .*give a --target",
    ),
    "targets of a decoder": (["--data=de", "--target=en"], "--target is for encoder-decoders"),
    "targets of an encoder": (["--data=de", "--target=en", "--arch=bert"], "this is a bert"),
    "another number of lines": (
        ["--data=de", "--target=short", "--arch=t5"], "de has 40 lines and .*short 1",
    ),
    "validation without targets": (
        ["--data=de", "--target=en", "--val-data=de", "--arch=t5"], "--val-target has",
    ),
    "targets of no validation": (
        ["--data=de", "--target=en", "--val-target=de", "--arch=t5"], "--val-target is of",
    ),
    "ids": (["--data=ids.npy", "--target=en", "--arch=t5", "--vocab=9"], "pairs are texts"),
    "experts": (["--data=de", "--target=en", "--arch=t5", "--experts=2"], "--experts does not fit"),
    "another norm": (["--data=de", "--target=en", "--arch=t5", "--norm=layernorm"], "--norm does"),
    "fewer heads for keys": (
        ["--data=de", "--target=en", "--arch=bart", "--kv-heads=1"], "--kv-heads 1 does not fit",
    ),
    "a directory": (["--data=de", "--target=.", "--arch=t5"], "is not a regular file"),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "says"), BAD.values(), ids=BAD.keys())
def test_what_does_not_pair_is_refused(files, flags, says, capsys, monkeypatch):
    (files / "short").write_text("one\n")
    np.save(files / "ids.npy", np.arange(9))
    train_byte_level_bpe(["x"], 257).save(files / "words")
    monkeypatch.chdir(files)
    said = refused(main, [*flags, *SMALL, "--out", "new"], capsys)
    assert re.search(says, said), said
    assert not (files / "new").exists()
