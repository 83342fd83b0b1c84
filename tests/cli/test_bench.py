"""tinyllm.bench: a row for every length, in a table, as CSV, JSON and a picture."""

import csv
import json
import os
import sys

import pytest

from cli.commands import refused
from emulator import cupy_stand_in
from emulator.module import COMPILER
from tinyllm.bench import main
from tinyllm.cli.bench.attention import KINDS

SMALL = ["--lengths", "8,16", "--repeat", "1"]


@pytest.fixture
def rows(capsys):
    def rows(*words):
        assert main([*map(str, words), "--json"]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return rows


def test_attention_has_a_row_for_every_kind_at_every_length(rows):
    found = rows("attention", *SMALL)
    assert [(row["tokens"], row["kind"]) for row in found] == [
        (n, kind) for n in (8, 16) for kind in KINDS
    ]
    assert all(row["milliseconds"] > 0 and row["peak MB"] > 0 for row in found)


@pytest.mark.parametrize(
    ("words", "scores"),
    [([], 36), (["--full"], 64), (["--window", 3], 21), (["--window", 99], 36)],
)
def test_operations_count_the_scores_that_are_seen(rows, words, scores):
    sizes = ["--heads", 2, "--kv-heads", 1, "--head-dim", 4, "--batch", 3]
    for kind, backward, products in (
        ("backend", [], 2), ("backend", ["--backward"], 7), ("flash", ["--backward"], 7),
        ("formula", [], 2), ("formula", ["--backward"], 6),
    ):  # fmt: skip
        (row,) = rows("attention", "-p", 8, "-r", 1, "--kinds", kind, *sizes, *words, *backward)
        operations = row["GFLOP/s"] * 1e9 * row["milliseconds"] * 1e-3
        assert operations == pytest.approx(2 * products * 3 * 2 * 4 * scores)


def test_the_formula_needs_memory_for_all_scores_and_tiles_do_not(rows):
    at = {
        (r["kind"], r["tokens"]): r["peak MB"] for r in rows("attention", "-r", 1, "-p", "64,512")
    }
    scores = 8 * 512 * 512 * 4 / 1e6
    assert at["formula", 512] > scores
    assert at["backend", 512] < scores / 2
    assert at["flash", 512] < scores / 2


def test_scores_that_do_not_fit_are_left_out(monkeypatch, capsys):
    monkeypatch.setattr("tinyllm.memory.available_memory", lambda: 1_000)
    assert main(["attention", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert "formula" not in out
    assert "flash" in out
    assert "formula, 8 tokens: left out" in err


@pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
def test_attention_is_timed_on_the_backend_that_is_named(monkeypatch, rows):
    xp = cupy_stand_in.load()
    monkeypatch.setattr("tinyllm.backend.get_backend", {"cupy": xp}.get)
    for row in rows("attention", *SMALL, "--backend", "cupy", "--backward"):
        assert row["milliseconds"] > 0
        assert row["peak MB"] == 400  # of the stand-in's pool


@pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
def test_decoding_is_timed_on_the_backend_that_is_named(monkeypatch, model, rows):
    xp = cupy_stand_in.load()
    monkeypatch.setattr("tinyllm.model.get_backend", {"cupy": xp}.get)
    words = ["decode", "-m", model, "-p", "4", "-n", 3, "-r", 1, "--backend", "cupy"]
    (row,) = rows(*words, "--storage", "float16")
    assert row["decode tok/s"] > 0
    assert row["peak MB"] == 400


def test_decoding_says_how_fast_and_how_much_it_reads(model, rows):
    words = ["decode", "-m", model, "-p", "4,9", "-n", 3, "-r", 1]
    found = rows(*words)
    assert [row["tokens"] for row in found] == [4, 9]
    reads = {row["tokens"]: 1e9 * row["GB/s"] / row["decode tok/s"] for row in found}
    assert reads[9] - reads[4] == pytest.approx(5 * 2 * 2 * 2 * 4 * 4)  # 2 L K d of 4 bytes each
    assert all(row["prefill tok/s"] > 0 for row in found)


def test_decoding_leaves_out_what_does_not_fit_the_context(model, capsys):
    words = ["decode", "-m", str(model), "-r", "1", "-n", "20", "-p", "80,81"]
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["tokens"] for line in out.splitlines()] == [80]
    assert err == "81 tokens: left out, for with 20 more they are beyond the model's 100\n"
    said = refused(main, [*words[:-1], "99", "-q"], capsys)
    assert said == "no length fits: the model reads 100 tokens, expected a shorter -p or -n"


def test_a_table_a_file_and_a_picture(model, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    table, picture = tmp_path / "x.csv", tmp_path / "x.svg"
    words = ["--csv", str(table), "--plot", str(picture)]
    assert main(["attention", *SMALL, *words]) == 0
    out, err = capsys.readouterr()
    head, *lines = out.splitlines()
    assert head.split()[:3] == ["kind", "tokens", "milliseconds"]
    assert len(lines) == 6
    assert err == ""
    with table.open(newline="") as file:
        assert [row["kind"] for row in csv.DictReader(file)] == [*KINDS, *KINDS]
    assert "milliseconds" in picture.read_text()
    assert "peak MB" in picture.read_text()


def test_a_picture_that_cannot_be_drawn_shows_before_anything_is_measured(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("tinyllm.cli.bench.attention._row", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ["attention", *SMALL, "--plot", tmp_path / "x.svg"]
    assert "a picture needs matplotlib" in refused(main, words, capsys)


@pytest.mark.parametrize("flag", ["--csv", "--plot"])
def test_a_file_that_cannot_be_written_costs_no_table(tmp_path, capsys, monkeypatch, flag):
    pytest.importorskip("matplotlib")

    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr("tinyllm.checkpoints.atomic.os.replace", full)
    assert main(["attention", *SMALL, flag, str(tmp_path / "x.svg")]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 7
    assert err == f"error: {tmp_path}/x.svg: cannot be written: no space\n"
    assert os.listdir(tmp_path) == []


BAD = {
    "no part": ([], "which part?"),
    "another part": (["attn"], "did you mean attention?"),
    "no length": (["attention", "-p", "0"], "a length is at least 1"),
    "words for lengths": (["attention", "-p", "8,x"], "'x' is not a whole number"),
    "another kind": (["attention", "--kinds", "flash,sparse"], "there is no kind 'sparse'"),
    "heads that do not share": (["attention", "--heads", "3", "--kv-heads", "2"], "evenly"),
    "no heads": (["attention", "--heads", "0"], "--heads is 0, expected at least 1"),
    "no key heads": (["attention", "--kv-heads", "0"], "--kv-heads is 0"),
    "a window and all": (["attention", "--window", "3", "--full"], "not with --full"),
    "no runs": (["attention", "-r", "0"], "--repeat is 0"),
    "no tokens": (["decode", "-n", "1"], "--tokens is 1, expected at least 2"),
    "another picture": (["attention", *SMALL, "--plot", "x.bmp"], "ends with one of .svg"),
    "a folder for a table": (["attention", *SMALL, "--csv", "/"], "cannot be written"),
    "a table nowhere": (["decode", "--csv", "/no/where.csv"], "there is no folder /no"),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line(words, said, capsys):
    assert said in refused(main, words, capsys)
