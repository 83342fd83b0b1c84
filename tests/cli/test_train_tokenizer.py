"""tinyllm tokenize train: a folder that is whole or not there."""

import pytest

from cli.commands import in_terminal, refused, run
from tinyllm.cli.tokenize import main
from tinyllm.tokenizers import load_tokenizer

TEXT = "the cat and the hat<|endoftext|>the bat\n"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 3)
    return path


def test_a_tokenizer_out_of_files(text, tmp_path, capsys):
    out = tmp_path / "new"
    assert (
        main(["train", "--data", str(text), str(text), "--vocab-size", "264", "--out", str(out)])
        == 0
    )
    assert capsys.readouterr() == ("", f"wrote {out}: 264 tokens\n")
    tokenizer = load_tokenizer(out)
    assert tokenizer.vocab_size == 264
    assert tokenizer.bos_id == tokenizer.eos_id == 0
    assert {path.name for path in tmp_path.iterdir()} == {"new", "text.txt"}
    assert main(["-m", str(out), "the the", "--count"]) == 0
    assert capsys.readouterr().out == "3\n"


def test_special_tokens_and_their_roles(text, tmp_path):
    def trained(name, *words):
        words = [*words, "--data", str(text), "--vocab-size", "265", "--out", str(tmp_path / name)]
        assert main(["train", "-q", *words]) == 0
        tokenizer = load_tokenizer(tmp_path / name)
        return tokenizer.special_tokens, tokenizer.bos_id, tokenizer.eos_id

    special = {"<s>": 0, "</s>": 1}
    assert trained("a", "--special", *special) == (special, 0, 0)
    assert trained("b", "--special", *special, "--eos", "</s>") == (special, 0, 1)
    assert trained("c", "--bos=none", "--eos=none") == ({"<|endoftext|>": 0}, None, None)


def test_the_same_text_gives_the_same_bytes(text, tmp_path):
    for name in ("a", "b"):
        words = ["--data", str(text), "--vocab-size", "264", "--out", str(tmp_path / name)]
        assert main(["train", "-q", "--pre-tokenizer", "smollm", *words]) == 0
    a, b = ((tmp_path / name / "tokenizer.json").read_bytes() for name in "ab")
    assert a == b


def test_the_word_itself_is_text_with_a_flag(text, tmp_path, capsys):
    assert (
        main(
            [
                "train",
                "-q",
                "--data",
                str(text),
                "--vocab-size",
                "257",
                "--out",
                str(tmp_path / "a"),
            ]
        )
        == 0
    )
    assert main(["-m", str(tmp_path / "a"), "--prompt", "train", "--count"]) == 0
    assert capsys.readouterr().out == "5\n"


def test_a_terminal_sees_how_far_it_is(text, tmp_path):
    words = ["--data", text, "--vocab-size", "260", "--out", tmp_path / "a"]
    code, screen = in_terminal("tinyllm", "tokenize", "train", *words)
    assert code == 0
    assert "characters, 7 distinct words" in screen
    assert "wrote" in screen
    code, out, err = run("tinyllm", "tokenize", "train", "-q", *words[:-1], tmp_path / "b")
    assert (code, out, err) == (0, b"", b"")


BAD = {
    "too few": (["--vocab-size", "256"], "expected 257"),
    "too many": (["--vocab-size", "9999"], "the text gives no more than"),
    "half a number": (["--vocab-size", "1.5"], "is not a whole number"),
    "no file": (["--data", "none.txt"], "none.txt: no such file"),
    "no folder to be in": (["--out", "text.txt/new"], "text.txt/new: cannot be written"),
    "an unknown pre-tokenizer": (["--pre-tokenizer", "x"], "no pre-tokenizer is called 'x'"),
    "an unknown role": (["--bos", "<s>"], "none of the special tokens"),
    "a prompt": (["some text"], "unrecognized arguments: some text"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_one_line_and_leaves_nothing(text, tmp_path, capsys, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    words, says = BAD[case]
    usual = ["--vocab-size", "260", "--out", tmp_path / "new"]
    first = words if case == "a prompt" else []
    line = refused(main, ["train", *first, "--data", text, *usual, *words], capsys)
    assert says in line
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_other_bad_files_are_one_line(tmp_path, capsys):
    usual = ["train", "--vocab-size", "260", "--out", tmp_path / "new", "--data"]
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "binary").write_bytes(b"text \xff")
    assert "no text to train on" in refused(main, [*usual, tmp_path / "empty"], capsys)
    assert "binary: is not UTF-8 at byte 5" in refused(main, [*usual, tmp_path / "binary"], capsys)
    assert "is a folder" in refused(main, [*usual, tmp_path], capsys)


def test_what_is_there_stays(text, tmp_path, capsys):
    words = ["train", "--data", text, "--vocab-size", "260", "--out"]
    assert "text.txt: exists already" in refused(main, [*words, text], capsys)
    (tmp_path / "link").symlink_to("nowhere")
    assert "exists already" in refused(main, [*words, tmp_path / "link"], capsys)
    assert text.read_text() == TEXT * 3


def test_an_interruption_leaves_nothing(text, tmp_path, monkeypatch):
    def interrupted(path, target):
        assert len(list(path.iterdir())) == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tmp_path), "rename", interrupted)
    words = ["train", "-q", "--data", str(text), "--vocab-size", "260"]
    assert main([*words, "--out", str(tmp_path / "b")]) == 130
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt"}
