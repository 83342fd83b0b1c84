"""tinyllm.convert: from layout to layout and back, all of it or nothing."""

import filecmp
import json
import os
import signal
import warnings

import pytest

from checkpoints.llama_files import assert_same
from cli.commands import refused, run, variant
from conftest import ROOT, data
from tiny_vocabulary import llama2c_bytes, tokenizer_dict, write_json
from tinyllm.checkpoints import read_config, read_weights
from tinyllm.convert import _write, main
from tinyllm.generate import main as generate


def convert(*words):
    assert main([str(word) for word in words]) == 0


def answer(folder, capsys):
    capsys.readouterr()
    assert generate(["-m", str(folder), "the in", "--seed=1", "-n", "20"]) == 0
    return capsys.readouterr().out


def test_from_hugging_face_to_llama2c_and_back(model, tmp_path, capsys):
    convert(model, tmp_path / "a.bin")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"wrote {tmp_path / 'a.bin'} and {tmp_path / 'a.tokenizer.bin'}\n"
    assert (tmp_path / "a.tokenizer.bin").read_bytes() == llama2c_bytes()
    convert(tmp_path / "a.bin", tmp_path / "hf", "--tokenizer", tmp_path / "a.tokenizer.bin")
    assert_same(read_weights(tmp_path / "hf"), read_weights(model))
    assert answer(tmp_path / "hf", capsys) == answer(model, capsys)
    convert(tmp_path / "hf", tmp_path / "b.bin")
    assert filecmp.cmp(tmp_path / "a.bin", tmp_path / "b.bin", shallow=False)


def test_from_hugging_face_to_meta_and_back(model, tmp_path, capsys):
    convert(model, tmp_path / "meta", "--to", "meta")
    assert {"params.json", "consolidated.safetensors"} <= set(os.listdir(tmp_path / "meta"))
    convert(tmp_path / "meta", tmp_path / "hf")
    assert_same(read_weights(tmp_path / "hf"), read_weights(model))
    assert answer(tmp_path / "hf", capsys) == answer(model, capsys)


def test_from_hugging_face_to_itself_loses_nothing(model, tmp_path, capsys):
    folder = variant(model, tmp_path / "in")
    write_json(folder / "generation_config.json", {"eos_token_id": [2, 7]})
    convert(folder, tmp_path / "out")
    assert json.loads((tmp_path / "out/generation_config.json").read_text()) == {
        "eos_token_id": [2, 7]
    }
    assert read_config(tmp_path / "out") == read_config(model)
    assert_same(read_weights(tmp_path / "out"), read_weights(model))


def test_the_command_runs_as_a_program(model, tmp_path):
    os.mkdir(tmp_path / "here")
    done = run("tinyllm", "convert", model, "a.bin", "--quiet", cwd=tmp_path / "here")
    assert done == (0, b"", b"")
    assert sorted(os.listdir(tmp_path / "here")) == ["a.bin", "a.tokenizer.bin"]


def test_the_target_decides_the_layout_unless_told(model, tmp_path):
    convert(model, tmp_path / "llama2c", "--to=llama2c")
    assert (tmp_path / "llama2c").is_file()
    assert (tmp_path / "llama2c.tokenizer.bin").is_file()
    convert(model, tmp_path / "folder.bin", "--to=hf")
    assert (tmp_path / "folder.bin/config.json").is_file()
    convert(tmp_path / "llama2c", tmp_path / "new/parents/too")
    assert (tmp_path / "new/parents/too/config.json").is_file()


def test_without_a_tokenizer_it_says_so(model, tmp_path, capsys):
    folder = variant(model, tmp_path / "bare")
    (folder / "tokenizer.bin").unlink()
    convert(folder, tmp_path / "a.bin")
    wrote, note = capsys.readouterr().err.splitlines()
    assert wrote == f"wrote {tmp_path / 'a.bin'}"
    assert note == "note: without a tokenizer; --tokenizer PATH takes one along"
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "bare"]


def test_the_head_is_chosen_where_config_and_file_disagree(model, tmp_path, capsys):
    folder = variant(model, tmp_path / "in", tie_word_embeddings=True)
    assert "--tie yes" in refused(main, [folder, tmp_path / "out"], capsys)
    for tie in ("yes", "no"):
        convert(folder, tmp_path / tie, "--tie", tie)
        assert read_config(tmp_path / tie)["tie_word_embeddings"] == (tie == "yes")
        assert ("lm_head.weight" in read_weights(tmp_path / tie)) == (tie == "no")
        assert generate(["-m", str(tmp_path / tie), "ab", "-n", "3"]) == 0


EXISTING = {
    "a file": (lambda path: path.write_text("mine"), "out"),
    "an empty folder": (lambda path: path.mkdir(), "out"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "out"),
    "a llama2.c file": (lambda path: path.write_text("mine"), "out.bin"),
    "the tokenizer's file": (lambda path: path.write_text("mine"), "out.tokenizer.bin"),
}


@pytest.mark.parametrize("case", EXISTING)
def test_nothing_is_overwritten(model, tmp_path, capsys, case):
    make, name = EXISTING[case]
    make(tmp_path / name)
    target = tmp_path / name.replace(".tokenizer", "")
    assert "exists already" in refused(main, [model, target], capsys)
    assert os.listdir(tmp_path) == [name]
    assert not (tmp_path / name).is_file() or (tmp_path / name).read_text() == "mine"


BEYOND = {
    "rope_theta": {"rope_theta": 5e5},
    "rms_norm_eps": {"rms_norm_eps": 1e-6},
    "eos_token_id": {"eos_token_id": [2, 3]},
    "rope_scaling": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
}


@pytest.mark.parametrize("key", BEYOND)
def test_what_llama2c_cannot_hold_is_refused_by_name(model, tmp_path, capsys, key):
    folder = variant(model, tmp_path / "in", **BEYOND[key])
    line = refused(main, [folder, tmp_path / "out.bin"], capsys)
    assert f"cannot hold {key} = " in line
    assert os.listdir(tmp_path) == ["in"]


def test_what_meta_cannot_hold_is_refused_by_name(model, tmp_path, capsys):
    folder = variant(model, tmp_path / "in", **BEYOND["rope_scaling"])
    line = refused(main, [folder, tmp_path / "out", "--to=meta"], capsys)
    assert "Meta's layout cannot hold rope_scaling" in line
    assert os.listdir(tmp_path) == ["in"]


def bad_sources(model, folder):
    folder.mkdir()
    (folder / "noise.bin").write_bytes(b"noise" * 99)
    (folder / "short.bin").write_bytes(b"12")
    (folder / "model.gguf").write_bytes(b"GGUF" + bytes(99))
    write_json(folder / "params.json", {"dim": 16})
    os.mkdir(folder / "empty")
    variant(model, folder / "other sizes", intermediate_size=8)
    variant(model, folder / "not weights", b"<html>")
    yield from ("absent", "noise.bin", "short.bin", "model.gguf", "params.json", "empty")
    yield from (".", "other sizes", "not weights", "a\nb")


def test_a_source_that_is_no_model_is_one_line_and_nothing_is_left(model, tmp_path, capsys):
    for name in bad_sources(model, tmp_path / "in"):
        for target in ("out", "out.bin"):
            refused(main, [tmp_path / "in" / name, tmp_path / target], capsys)
            assert os.listdir(tmp_path) == ["in"]


def test_a_tokenizer_that_cannot_go_along_leaves_nothing(model, tmp_path, capsys):
    folder = variant(model, tmp_path / "in")
    (folder / "tokenizer.bin").unlink()
    write_json(folder / "tokenizer.json", tokenizer_dict())
    refused(main, [folder, tmp_path / "out.bin"], capsys)
    refused(main, [folder, tmp_path / "out", "--tokenizer", tmp_path / "absent"], capsys)
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("target", ["out", "out.bin"])
def test_a_tokenizer_of_another_model_is_refused(model, tmp_path, capsys, target):
    folder = variant(model, tmp_path / "in")
    words = ["--tokenizer", ROOT / "tinyllm/shipped"]
    line = refused(main, [folder, tmp_path / target, *words], capsys)
    assert "the tokenizer has ids up to" in line
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("target", ["out", "out.bin"])
def test_ctrl_c_while_the_tokenizer_is_written_leaves_nothing(
    model, tmp_path, capsys, monkeypatch, target
):
    def interrupt(*_):
        (name,) = os.listdir(tmp_path)  # not the target's yet
        assert name != target
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("tinyllm.tokenizers.write_llama2c_tokenizer", interrupt)
    monkeypatch.setattr("tinyllm.tokenizers.Tokenizer.save", interrupt)
    assert main([str(model), str(tmp_path / target)]) == 130
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr() == ("", "")


def test_a_target_that_cannot_be_written_is_one_line(model, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for name in ("file/out", "file/out.bin", "x" * 300, "x" * 300 + ".bin"):
        assert name in refused(main, [model, tmp_path / name], capsys)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("target", [".", "/", "./", ""])
@pytest.mark.parametrize("layout", ["hf", "meta", "llama2c"])
def test_a_folder_that_is_there_under_any_name_is_refused(
    model, tmp_path, capsys, monkeypatch, target, layout
):
    monkeypatch.chdir(tmp_path)
    assert "exists already" in refused(main, [model, target, "--to", layout], capsys)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["out", "out.bin", "out.tokenizer.bin"])
def test_what_another_process_wrote_meanwhile_stays(model, tmp_path, capsys, monkeypatch, name):
    def write(*words):
        (tmp_path / name).write_text("theirs")
        return _write(*words)

    monkeypatch.setattr("tinyllm.convert._write", write)
    target = tmp_path / name.replace(".tokenizer", "")
    assert "exists already" in refused(main, [model, target], capsys)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "theirs"


def test_usage(model, tmp_path, capsys):
    assert "arguments are required: TARGET" in refused(main, [model], capsys)
    line = refused(main, [model, tmp_path / "out", "--to=gguf"], capsys)
    assert "invalid choice: 'gguf'" in line


def test_the_published_stories260k_converts_to_the_text_it_is_known_for(tmp_path, capsys):
    source = data("models/stories260K")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        convert(source, tmp_path / "a.bin")
        tokenizer = tmp_path / "a.tokenizer.bin"
        convert(tmp_path / "a.bin", tmp_path / "hf", "--tokenizer", tokenizer)
        for folder in (source, tmp_path / "hf"):
            assert generate(["-m", str(folder), "Once upon a time", "-t0", "-n", "9", "-q"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == out[1]
