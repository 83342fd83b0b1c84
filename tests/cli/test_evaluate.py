"""tinyllm.evaluate: the numbers of the library, with all that they depend on."""

import json
import math
import sys
from dataclasses import asdict

import pytest

from cli.commands import in_terminal, refused
from tinyllm.__main__ import main as package_main
from tinyllm.evaluate import main
from tinyllm.evaluation import answer_choices, measure_perplexity, read_questions

TEXT = "the the in é\n<|endoftext|>\nin the the 😀\n<|endoftext|>\n \n"
PLAIN = TEXT.replace("<|endoftext|>\n", "")
QUESTIONS = '{"prompt": "the", "choices": [" the", " in"], "answer": 1}\n'


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def out(model, capsys):
    """Run a part of the command: -> what it prints."""

    def out(part, *words):
        assert main([part, "-m", str(model), *map(str, words)]) == 0
        printed, err = capsys.readouterr()
        assert err == ""
        return printed

    return out


@pytest.mark.parametrize("protocol", ["chunk", "stride"])
def test_perplexity_is_the_librarys(out, loaded, text, protocol):
    text.write_text(PLAIN)
    words = ["--text", text, "--protocol", protocol, "--context", 16]
    found = measure_perplexity(loaded, [PLAIN], protocol=protocol, context=16)
    assert json.loads(out("perplexity", *words, "--json")) == asdict(found)
    line, rest = out("perplexity", *words).splitlines()
    assert line.startswith(f"perplexity {found.ppl:.4f}: {found.nll:.4f} nats a token, ")
    assert f"protocol {protocol}, context 16" in rest
    assert (", stride 8, BOS;" in rest) == (protocol == "stride")
    assert f"tokenizer of {found.tokenizer}" in rest


def test_documents_stand_between_separators_without_line_breaks(out, loaded, text):
    documents = ["the the in é", "in the the 😀"]
    found = json.loads(out("perplexity", "--text", text, "--protocol", "doc", "--json"))
    assert found == asdict(measure_perplexity(loaded, documents, protocol="doc"))
    assert found["documents"] == 2
    words = ["--text", text, "--protocol", "doc", "--separator", "in", "--no-eos", "--no-bos"]
    said = out("perplexity", *words)
    assert "neither BOS nor EOS" in said
    assert "of 3 texts" in said


def test_marks_between_documents_that_are_read_as_prose_are_told(model, text, capsys):
    assert main(["perplexity", "-m", str(model), "--text", str(text)]) == 0
    assert capsys.readouterr().err == (
        "note: the text has <|endoftext|>, which is read as prose: --protocol doc parts documents "
        "there\n"
    )


@pytest.mark.parametrize("protocol", ["chunk", "stride", "doc"])
def test_no_more_than_so_many_tokens_are_read(out, loaded, text, protocol):
    text.write_text(PLAIN if protocol != "doc" else TEXT)
    words = ["--text", text, "--protocol", protocol, "--json", "--max-tokens", 5]
    found = json.loads(out("perplexity", *words))
    assert found["tokens_scored"] == 4
    ids = loaded.tokenizer.encode("the the in é\n", bos=True, eos=protocol == "doc")[:5]
    scores = loaded.logprobs([ids[:-1]], [ids[1:]])
    assert found["nll"] == pytest.approx(-scores.mean(), rel=1e-5)


def test_what_is_no_number_is_null(out, text, monkeypatch):
    monkeypatch.setattr("tinyllm.evaluation.perplexity.exp_or_inf", lambda nll: math.inf)
    text.write_text(PLAIN)
    assert json.loads(out("perplexity", "--text", text, "--json"))["ppl"] is None
    text.write_text("")
    said = out("perplexity", "--text", text, "--eos")
    assert said.startswith("perplexity inf: ")
    assert "bits per byte" not in said


def test_choices_are_the_librarys(out, loaded, tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(QUESTIONS)
    found = answer_choices(loaded, read_questions(QUESTIONS, "q"))
    assert json.loads(out("choices", path, "--json")) == asdict(found)
    assert out("choices", path).startswith(f"acc {found.acc:.4f} by log-probability, acc_norm ")


def test_a_terminal_sees_how_far_it_is(model, text):
    code, screen = in_terminal("tinyllm", "evaluate", "perplexity", "-m", model, "--text", text)
    assert code == 0
    assert "scored" in screen
    assert "perplexity" in screen


BAD = {
    "no part": ([], "which part? There are perplexity, choices"),
    "another part": (["bleu"], "there is no part 'bleu'; there are perplexity, choices"),
    "no text": (["perplexity", "--text", "none.txt"], "none.txt: no such file"),
    "an empty text": (["perplexity", "--text", "empty"], "fewer than two tokens"),
    "not UTF-8": (["perplexity", "--text", "binary"], "binary: is not UTF-8 at byte 3"),
    "a context of one": (["perplexity", "--text", "t", "--context", "1"], "context is 1, expected"),
    "a context beyond": (["perplexity", "--text", "t", "--context", "101"], "expected 2 to 100"),
    "a stride for chunks": (["perplexity", "--text", "t", "--stride=5"], "--stride is not read"),
    "an empty separator": (
        ["perplexity", "--text", "t", "--protocol", "doc", "--separator="], "--separator: is empty",
    ),
    "a separator for chunks": (["perplexity", "--text", "t", "--separator=x"], "--separator is no"),
    "one token": (["perplexity", "--text", "t", "--max-tokens", "1"], "fewer than two tokens"),
    "a protocol": (["perplexity", "--text", "t", "--protocol", "x"], "invalid choice: 'x'"),
    "a bad line": (["choices", "t"], "t: line 1 is not JSON"),
    "no line": (["choices", "empty"], "empty: has no questions"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_one_line(model, tmp_path, capsys, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").write_text(TEXT)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "binary").write_bytes(b"the\xff")
    words, says = BAD[case]
    model_flag = ["-m", model, "-q"] if len(words) > 1 else []
    assert says in refused(main, [*words, *model_flag], capsys)


def test_the_package_has_it(capsys):
    assert package_main(["evaluate"]) == 2
    assert "which part?" in capsys.readouterr().err


def test_a_closed_output_is_one_line(model, text, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["perplexity", "-m", str(model), "--text", str(text)]) == 2
    assert main(["choices", "-m", str(model), str(text)]) == 2
    assert capsys.readouterr().err.count("standard output is closed") == 2
