"""A model that cannot be used, through the real command: one line that says what to do."""

import os
import pickle
import re

import numpy as np
import pytest

from cli.commands import refused, variant
from tinyllm.checkpoints import read_tensors, write_tensors
from tinyllm.generate import main

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4\n"
BYTES = {
    "a Git-LFS pointer": (lambda good: LFS, "is a Git-LFS pointer of 126 bytes"),
    "a web page": (lambda good: b"<!DOCTYPE html><title>Sign in</title>", "is a web page"),
    "a pickle": (lambda good: pickle.dumps({"a": [1] * 99}), "is a PyTorch pickle"),
    "a GGUF file": (lambda good: b"GGUF" + bytes(99), "is a GGUF file"),
    "half a download": (lambda good: good[: len(good) // 2], "download"),
    "nothing": (lambda good: b"", "is empty; download it again"),
}


@pytest.mark.parametrize("case", BYTES)
def test_weights_of_another_kind_are_named(model, tmp_path, capsys, case):
    make, says = BYTES[case]
    good = (model / "model.safetensors").read_bytes()
    folder = variant(model, tmp_path / "bad", make(good))
    line = refused(main, ["-m", folder, "ab"], capsys)
    assert line.startswith(f"{folder / 'model.safetensors'}: ")
    assert says in line


TENSORS = {
    "renamed": (lambda t: t | {"model.norm.gain": t.pop("model.norm.weight")}, "model.norm.gain"),
    "of another shape": (lambda t: t | {"model.norm.weight": np.ones(15, "f4")}, "(15,)"),
    "with NaN": (lambda t: t | {"model.norm.weight": np.full(16, np.nan, "f4")}, "NaN"),
    "of whole numbers": (lambda t: t | {"model.norm.weight": np.ones(16, "i4")}, "int32"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_weights_that_do_not_fit_are_named(model, tmp_path, capsys, case):
    change, says = TENSORS[case]
    folder = variant(model, tmp_path / "bad")
    tensors = {name: x.copy() for name, x in read_tensors(folder / "model.safetensors").items()}
    write_tensors(folder / "model.safetensors", change(tensors))
    assert says in refused(main, ["-m", folder, "ab"], capsys)


CONFIGS = {
    "an unknown RoPE": ({"rope_scaling": {"rope_type": "warp", "factor": 2.0}}, "'warp'"),
    "an unknown key": ({"residual_multiplier": 0.2}, "residual_multiplier"),
    "an unknown family": ({"model_type": "mamba"}, "'mamba'"),
    "other sizes": ({"intermediate_size": 8}, "mlp"),
    "code of its own": ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map"),
    "quantised weights": ({"quantization_config": {"bits": 4}}, "quantised"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_is_not_understood_is_refused(model, tmp_path, capsys, case):
    changes, says = CONFIGS[case]
    folder = variant(model, tmp_path / "bad", **changes)
    assert says in refused(main, ["-m", folder, "ab"], capsys)


def test_a_model_that_is_not_there_comes_with_the_download(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert "hf download org/model" in refused(main, ["-m", "org/model", "ab"], capsys)
    for name in ("", "no such/folder/here", "a\nb", "\x1b[31m", "\udcff"):
        refused(main, ["-m", name, "ab"], capsys)


@pytest.mark.parametrize("name", ["with spaces", "世界é", "two\nlines", "-m"])
def test_a_folder_may_have_any_name(model, tmp_path, capsys, name):
    os.symlink(model, tmp_path / name)
    assert main([f"--model={tmp_path / name}", "ab", "-n", "3"]) == 0
    assert capsys.readouterr().err == ""


def test_a_bad_folder_of_any_name_is_one_line(model, tmp_path, capsys):
    for name in ("two\nlines", "\x1b]0;title\x07"):
        folder = variant(model, tmp_path / name, b"")
        assert "\x1b" not in refused(main, ["-m", folder, "ab"], capsys)


def test_a_model_without_a_tokenizer_takes_no_text(model, tmp_path, capsys):
    folder = variant(model, tmp_path / "bare")
    (folder / "tokenizer.bin").unlink()
    assert "has no tokenizer" in refused(main, ["-m", folder, "ab"], capsys)


def test_the_head_is_chosen_where_config_and_file_disagree(model, tmp_path, capsys):
    folder = variant(model, tmp_path / "tied", tie_word_embeddings=True)
    assert "--tie yes" in refused(main, ["-m", folder, "ab"], capsys)
    texts = []
    for source, *tie in ([folder, "--tie=no"], [model], [folder, "--tie=yes"]):
        assert main(["-m", str(source), "ab", "--seed=1", "-n", "20", *tie]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_too_little_memory_is_one_line(model, capsys, monkeypatch):
    def fail(*args, **options):
        raise MemoryError("Unable to allocate 9.00 TiB")

    monkeypatch.setattr("tinyllm.model.load", fail)
    line = refused(main, ["-m", model, "ab"], capsys)
    assert re.fullmatch(
        r"not enough memory: Unable to allocate 9.00 TiB; [\d.]+ .?B are free; fewer or shorter "
        r"texts at once, a smaller model or --storage bfloat16 take less", line
    )  # fmt: skip


def test_debug_shows_where_it_went_wrong(capsys):
    assert main(["-m", "no such folder", "ab", "--debug"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("error: ")


def test_a_warning_is_one_line_unless_quiet(model, tmp_path, capsys, monkeypatch):
    import warnings

    import tinyllm.model

    def warn(*args, _load=tinyllm.model.load, **options):
        warnings.warn("odd\nbut harmless", stacklevel=1)
        return _load(*args, **options)

    monkeypatch.setattr("tinyllm.model.load", warn)
    shown = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["-m", str(model), "ab", "-n", "3"]) == 0
        assert capsys.readouterr().err == "note: odd but harmless\n"
        assert main(["-m", str(model), "ab", "-n", "3", "--quiet"]) == 0
        assert capsys.readouterr().err == ""
        assert warnings.showwarning is shown
