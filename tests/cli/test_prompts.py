"""tinyllm.cli.text_input: a prompt reaches the model byte for byte."""

import io
import sys
import types

import pytest

from cli.commands import refused
from tinyllm.cli import text_input
from tinyllm.generate import main

TEXT = "  é 世\r\n\tab\\n\n"


@pytest.fixture
def stdin(monkeypatch):
    def put(content):
        stream = None if content is None else io.TextIOWrapper(io.BytesIO(content), "ascii")
        monkeypatch.setattr(sys, "stdin", stream)

    return put


@pytest.fixture
def echoed(model, capsys):
    """Run the command so that it prints the prompt and nothing else."""

    def run(*words):
        assert main(["-m", str(model), "--echo", "-n", "0", *words]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out.endswith("\n")
        return out[:-1]

    return run


@pytest.mark.parametrize("words", [[TEXT], ["--prompt", TEXT], ["-p", TEXT], ["--", TEXT]])
def test_an_argument_is_the_prompt(echoed, words):
    assert echoed(*words) == TEXT


def test_a_prompt_may_begin_with_a_dash(echoed):
    assert echoed("--prompt=-x") == "-x"
    assert echoed("--", "-x") == "-x"


@pytest.mark.parametrize("words", [[], ["-"], ["--prompt=-"], ["-p", "-"]])
def test_standard_input_is_the_prompt_where_no_other_is(echoed, stdin, words):
    stdin(TEXT.encode())
    assert echoed(*words) == TEXT


def test_a_file_is_the_prompt_with_all_its_line_ends(echoed, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_bytes(TEXT.encode())
    assert echoed("--prompt-file", str(path)) == TEXT
    assert echoed("-f", str(path)) == TEXT


def test_an_empty_prompt_begins_at_the_beginning(model, loaded, capsys, stdin):
    stdin(b"")
    for words in ([""], ["--prompt="], []):
        assert main(["-m", str(model), "--seed=1", "-n", "9", *words]) == 0
        assert capsys.readouterr().out == loaded.generate("", seed=1, max_tokens=9).text + "\n"


def test_escapes_are_read_on_request_only(echoed, tmp_path):
    text = r"a\nb\t\r \\n \u00e9\u4e16 \d \u12 \x1b \'"
    (tmp_path / "prompt.txt").write_text(text)
    read = "a\nb\t\r \\n é世 \\d \\u12 \\x1b \\'"
    assert echoed(text) == text
    assert echoed(text, "--escape") == read
    assert echoed("-e", "-f", str(tmp_path / "prompt.txt")) == read


def test_half_a_surrogate_pair_is_no_text(model, capsys):
    for words in (["-e", r"\ud800"], ["a\udce9"]):
        assert "lone surrogate" in refused(main, ["-m", model, *words], capsys)


def test_text_that_is_not_utf8_is_refused_with_its_place(model, tmp_path, capsys, stdin):
    content = "é".encode() + b"ab\xff"
    path = tmp_path / "prompt.txt"
    path.write_bytes(content)
    line = refused(main, ["-m", model, "-f", path], capsys)
    assert line == f"{path}: is not UTF-8 at byte 4"
    stdin(content)
    assert refused(main, ["-m", model], capsys) == "standard input: is not UTF-8 at byte 4"


@pytest.mark.parametrize(
    "words", [["a", "-p", "b"], ["a", "-f", "b"], ["-p", "a", "-f", "b"], ["-", "-p", "-"]]
)
def test_two_prompts_are_refused(model, capsys, words):
    assert refused(main, ["-m", model, *words], capsys).startswith("give one prompt")


def test_a_file_that_cannot_be_read_is_one_line(model, tmp_path, capsys):
    for path in (tmp_path / "absent", tmp_path):
        assert str(path) in refused(main, ["-m", model, "-f", path], capsys)
    assert refused(main, ["-m", model, "-f", "\udcff\n"], capsys).startswith("'\\udcff\\n': ")


def test_a_prompt_beyond_all_bounds_is_refused(model, tmp_path, capsys, stdin, monkeypatch):
    monkeypatch.setattr(text_input, "LONGEST", 4)
    (tmp_path / "long.txt").write_text("12345")
    assert "larger than 4 bytes" in refused(
        main, ["-m", model, "-f", tmp_path / "long.txt"], capsys
    )
    stdin(b"12345")
    assert "longer than 4 bytes" in refused(main, ["-m", model], capsys)
    stdin(b"1234")
    assert main(["-m", str(model), "-n", "0"]) == 0


def test_without_any_prompt_it_says_how_to_give_one(model, capsys, stdin, monkeypatch):
    stdin(None)
    for words in ([], ["-"]):
        assert "standard input is closed" in refused(main, ["-m", model, *words], capsys)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    assert "give one in quotes" in refused(main, ["-m", model], capsys)
