"""tinyllm.embed: learn, ask, draw and judge word vectors."""

import io
import json
import os
import sys

import numpy as np
import pytest

from cli.commands import in_terminal, refused, run
from tinyllm.embed import PARTS, main
from tinyllm.embeddings import WordVectors, load_vectors, save_vectors

TEXT = "\n".join(" ".join("abcdefgh"[(i + j) % 8] for j in range(6)) for i in range(8)) + "\n"
QUICK = ["--dim=4", "--min-count=1", "--epochs=2", "--window=2"]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A file of vectors that were not learned: king - man + woman = queen."""
    path = tmp_path_factory.mktemp("vectors") / "x.safetensors"
    rows = np.array([[2, 2, 0], [2, -2, 0], [0.5, 3, 0], [0.5, -3, 0], [0, 0, 1]], np.float32)
    words = ("king", "queen", "man", "woman", "red\x1b[31m")
    save_vectors(path, WordVectors(words=words, vectors=rows))
    return path


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT)
    return path


def answer(*words):
    assert main([str(word) for word in words]) == 0


@pytest.mark.parametrize("method", ["skip-gram", "cbow", "glove"])
def test_training_writes_vectors_and_says_how_fast(text, tmp_path, capsys, method):
    out = tmp_path / "x.safetensors"
    answer("train", "--data", text, "--out", out, "--method", method, "--json", *QUICK)
    printed, said = capsys.readouterr()
    done = json.loads(printed)
    assert (done["words"], done["corpus_words"], len(done["losses"])) == (8, 48, 2)
    assert said.splitlines()[0].startswith("read 48 words, 48 of them of the 8 that come 1 times")
    assert said.splitlines()[1].startswith(f"wrote {out}: 8 words; loss ")
    loaded = load_vectors(out)
    assert sorted(loaded.words) == list("abcdefgh")
    assert loaded.vectors.shape == (8, 4)
    assert loaded.counts.tolist() == [6] * 8
    assert sorted(os.listdir(tmp_path)) == ["text", "x.safetensors"]


def test_parents_are_made_and_what_came_meanwhile_stays(text, tmp_path, capsys, monkeypatch):
    out = tmp_path / "new" / "parents" / "x.txt"
    words = ["train", "--data", text, "-o", out, "--epochs=1", "--dim=2", "--min-count=1", "-q"]
    answer(*words)
    first = out.read_bytes()
    assert "x.txt: exists already" in refused(main, words, capsys)
    out.unlink()

    def slow(path, vectors):
        save_vectors(path, vectors)
        out.write_text("theirs")

    monkeypatch.setattr("tinyllm.embeddings.save_vectors", slow)
    assert "x.txt: exists already" in refused(main, words, capsys)
    assert (out.read_text(), os.listdir(out.parent)) == ("theirs", ["x.txt"])
    assert first.startswith(b"8 2\n"), first[:9]


def test_equal_seeds_give_equal_bytes_and_flags_count(text, tmp_path):
    files = {
        name: tmp_path / f"{name}.txt"
        for name in ("one", "two", "seed", "lr", "negative", "sample")
    }
    for name, path in files.items():
        flags = {"seed": ["--seed=1"], "lr": ["--lr=0.5"], "negative": ["--negative=1"]}
        flags["sample"] = ["--subsample=0", "--batch-size=3", "--keep-case"]
        answer("train", "--data", text, "--out", path, "-q", *QUICK, *flags.get(name, []))
    contents = {name: path.read_text() for name, path in files.items()}
    assert contents.pop("one") == contents["two"]
    assert len(set(contents.values())) == len(contents)


def test_a_text_comes_from_stdin(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    answer("train", "--data=-", "--out", tmp_path / "x.txt", "-q", *QUICK)
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "x.txt").read_text().startswith("8 4\n")


def test_progress_is_told_on_demand(text, tmp_path, capsys):
    answer("train", "--data", text, "--out", tmp_path / "x.txt", "-v", *QUICK)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"reading {text} …"
    assert lines[2].startswith("pass 1 of 2: loss ")


def test_neighbours(vectors, capsys):
    answer("neighbours", "-m", vectors, "king", "-n1")
    assert capsys.readouterr().out == "man  0.8137\n"
    answer("neighbours", "-m", vectors, "king", "queen", "-n1")
    assert capsys.readouterr().out == "king:\nman  0.8137\nqueen:\nwoman  0.8137\n"
    answer("neighbours", "-m", vectors, "king", "-n1", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said == {"word": "king", "neighbours": [{"word": "man", "cosine": 0.813733}]}


def test_analogy(vectors, capsys):
    answer("analogy", "-m", vectors, "man", "woman", "king", "-n1")
    assert capsys.readouterr().out.startswith("queen  0.")
    answer("analogy", "-m", vectors, "man", "woman", "king", "--json")
    assert json.loads(capsys.readouterr().out)["answers"][0]["word"] == "queen"


def test_evaluate(vectors, tmp_path, capsys):
    (tmp_path / "s.tsv").write_text("king\tman\t9\nking\tqueen\t5\nking\twoman\t1\nking\tx\t1\n")
    (tmp_path / "a.txt").write_text(": family\nman woman king queen\nman woman x queen\n: none\n")
    words = ["--similarity", tmp_path / "s.tsv", "--analogies", tmp_path / "a.txt"]
    answer("evaluate", "-m", vectors, *words)
    assert capsys.readouterr().out.splitlines() == [
        "s.tsv   Spearman  1.0000  3 of 4", "family  accuracy  1.0000  1 of 2",
        "none    accuracy    none  0 of 0", "total   accuracy  1.0000  1 of 2",
    ]  # fmt: skip
    answer("evaluate", "-m", vectors, *words, "--json")
    scores = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert scores[0] == {
        "kind": "Spearman", "name": "s.tsv", "score": 1.0, "covered": 3, "questions": 4,
    }  # fmt: skip
    assert scores[2]["score"] is None


def test_plot(vectors, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    answer("plot", "-m", vectors, "--out", tmp_path / "x.svg", "king", "queen", "king")
    assert capsys.readouterr().err == f"wrote {tmp_path / 'x.svg'}: 2 words\n"
    assert b"queen" in (tmp_path / "x.svg").read_bytes()
    answer("plot", "-m", vectors, "--out", tmp_path / "y.svg", "-n3")
    drawn = (tmp_path / "y.svg").read_text()
    assert "man" in drawn
    assert "woman" not in drawn


BAD = {
    "no part": ([], "which part? There are train, neighbours"),
    "an unknown part": (["neighbors"], "there is no part 'neighbors'; did you mean neighbours?"),
    "another": (["xyz"], "there is no part 'xyz'; there are train"),
    "no data": (["train", "--out=x"], "the following arguments are required: --data"),
    "dimension 0": (["train", "--dim=0"], "dim is 0, expected a whole number of at least 1"),
    "lr nan": (["train", "--lr=nan"], "argument --lr: 'nan' is not a finite number"),
    "lr 0": (["train", "--lr=0"], "lr is 0.0, expected a number above 0"),
    "window 0": (["train", "--window=0"], "window is 0"),
    "glove window 0": (["train", "--method=glove", "--window=0"], "--window is 0"),
    "glove noise": (["train", "--method=glove", "--negative=5"], "--negative is not read by glove"),
    "glove subsample": (["train", "--method=glove", "--subsample=0.1"], "--subsample is not read"),
    "out in another format": (["train", "--out={new}.npz"], "written as .safetensors, or in word2"),
    "min count 0": (["train", "--min-count=0"], "--min-count is 0, expected at least 1"),
    "subsample 1": (["train", "--subsample=1"], "subsample is 1.0"),
    "seed -1": (["train", "--seed=-1"], "seed is -1, expected at least 0"),
    "no words": (["train", "--data={empty}"], "the corpus has 0 words"),
    "one word": (["train", "--min-count=9"], "the corpus has 48 words, 0 of them different"),
    "short": (["train", "--min-count=1", "--window=48"], "fewer than a window"),
    "bytes": (["train", "--data={bytes}"], "{bytes}: is not UTF-8, soon after line"),
    "no file": (["train", "--data={empty}/x"], "no such file"),
    "a folder": (["train", "--data=."], ".: is a folder"),
    "out exists": (["train", "--out={empty}"], "{empty}: exists already"),
    "no folder": (["train", "--out={empty}/x"], "cannot be written"),
    "diverges": (
        ["train", "--min-count=1", "--lr=1e30", "--subsample=0"],
        "lower lr, or batch_size",
    ),
    "unknown word": (["neighbours", "-m={vectors}", "kng"], "'kng'; did you mean king?"),
    "unknown in analogy": (["analogy", "-m={vectors}", "king", "man", "z"], "no vector of 'z'"),
    "n 0": (["neighbours", "-m={vectors}", "king", "-n0"], "-n is 0"),
    "no vectors": (["neighbours", "-m={empty}2", "king"], "cannot be opened"),
    "empty vectors": (["analogy", "-m={empty}", "a", "b", "c"], "begins with ''"),
    "nothing to judge by": (["evaluate", "-m={vectors}"], "there is nothing to judge by"),
    "bad ratings": (["evaluate", "-m={vectors}", "--similarity={text}"], "expected word TAB word"),
    "a plot of one": (["plot", "-m={vectors}", "--out={new}", "king"], "at least 2"),
    "a plot of none": (["plot", "-m={vectors}", "--out={new}", "-n1"], "-n is 1"),
    "a plot's name": (["plot", "-m={vectors}", "--out={empty}.gif"], "ends with one of .svg"),
    "a plot in a file": (
        ["plot", "-m={vectors}", "--out={empty}/x.svg", "king", "man"],
        "cannot be written",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(vectors, text, tmp_path, capsys, name):
    files = {"text": text, "empty": tmp_path / "empty", "bytes": tmp_path / "bytes"}
    files |= {"vectors": vectors, "new": tmp_path / "new.svg"}
    files["empty"].write_text("")
    files["bytes"].write_bytes(b"words\n\xff\xfe")
    words, says = BAD[name]
    words = [word.format(**files) for word in words]
    if words[:1] == ["train"] and name != "no data":
        given = {word.split("=")[0] for word in words}
        usual = {"--data": text, "--out": tmp_path / "new.txt"}
        words += [f"{flag}={path}" for flag, path in usual.items() if flag not in given]
        words.append("-q")
    before = sorted(os.listdir(tmp_path))
    assert says.format(**files) in refused(main, words, capsys)
    assert sorted(os.listdir(tmp_path)) == before


def test_closed_streams_are_refused(vectors, text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    words = ["train", "--data=-", "--out", tmp_path / "x"]
    assert "standard input is closed" in refused(main, words, capsys)
    monkeypatch.setattr(sys, "stdout", None)
    asked = [["neighbours", "king"], ["analogy", "a", "b", "c"], ["evaluate"]]
    for words in [[*words, "-m", str(vectors)] for words in asked]:
        assert main(words) == 2
        assert "standard output is closed" in capsys.readouterr().err
    assert main(["train", "--data", str(text), "--out", str(tmp_path / "x"), "--json"]) == 2


@pytest.mark.parametrize("part", PARTS)
def test_help_of_each_part_fits_a_terminal(part, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as done:
        main([part, "--help"])
    assert not done.value.code
    out = capsys.readouterr().out
    assert out.startswith(f"usage: python -m tinyllm.embed {part} ")
    assert [line for line in out.splitlines() if len(line) > 80] == []


def test_words_cannot_command_a_terminal(vectors):
    code, screen = in_terminal("tinyllm.embed", "neighbours", "-m", vectors, "king")
    assert code == 0
    assert "red\\x1b[31m" in screen
    assert "\x1b" not in screen


def test_it_runs_as_a_program(vectors):
    words = ["embed", "neighbours", "-m", vectors, "king", "-n1"]
    assert run("tinyllm", *words, python=["-W", "error"]) == (0, b"man  0.8137\n", b"")
    assert run("tinyllm.embed", *words[1:], python=["-W", "error"])[0] == 0
