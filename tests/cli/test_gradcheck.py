"""tinyllm.gradcheck: a line for each gradient, and the exit code says whether all are right."""

import json

import pytest

from cli.commands import in_terminal, redirected, refused, run
from tinyllm.gradcheck import main
from tinyllm.ops import norms


def answer(*words, code=0):
    assert main([str(word) for word in words]) == code


def test_operations_and_models_by_name(capsys):
    answer("linear", "gru", "--seed", 3)
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in lines[:4]] == [
        ["linear", "x"], ["linear", "weight"], ["linear", "bias"],
        ["gru", "model.embed_tokens.weight"],
    ]  # fmt: skip
    assert len(lines) == 3 + 10
    assert all(float(error) < 1e-8 and said == "ok" for _, _, error, said in lines)
    assert err == "13 gradients checked, 0 wrong\n"


def test_a_wrong_gradient_ends_with_1(capsys, monkeypatch):
    monkeypatch.setattr(norms, "rmsnorm_backward", lambda xp, dy, saved: (dy, float("nan") * dy[0]))
    answer("rmsnorm", "linear", code=1)
    out, err = capsys.readouterr()
    assert [line.split()[-1] for line in out.splitlines()] == ["WRONG"] * 2 + ["ok"] * 3
    assert err == "5 gradients checked, 2 wrong\n"
    answer("rmsnorm", "--json", "--quiet", code=1)
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["wrong"] == 2
    assert found["tolerance"] == 1e-6
    assert [check["name"] for check in found["checks"]] == ["x", "weight"]
    assert found["checks"][1] == {"of": "rmsnorm", "name": "weight", "error": None, "ok": False}
    assert err == ""


def test_a_model_in_a_folder(model, capsys):
    answer("--model", model, "model.norm", "1.self_attn.v_proj", "--samples", 2)
    out, _ = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert {line[0] for line in lines} == {str(model)}
    assert [line[1] for line in lines] == [
        "model.layers.1.self_attn.v_proj.weight", "model.norm.weight",
    ]  # fmt: skip
    assert {line[3] for line in lines} == {"ok"}


def test_a_kind_of_model(capsys):
    answer("--arch", "rnn")
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"rnn"}


REFUSED = {
    "unknown name": (["lineer"], "there is no operation or model 'lineer'; operations are linear"),
    "unknown kind": (["--arch", "eliza"], "--arch takes the place of names, and is one of llama"),
    "an operation as a kind": (["--arch", "linear"], "--arch takes the place of names"),
    "kind and name": (["--arch", "rnn", "linear"], "--arch takes the place of names"),
    "kind and model": (["--arch", "rnn", "--model", "x"], "argument --model/-m: not allowed with"),
    "no samples": (["--samples", "0"], "--samples is 0, expected at least 1"),
    "half a sample": (["--samples", "0.5"], "'0.5' is not a whole number"),
    "a negative seed": (["--seed=-1"], "--seed is -1, expected 0 to"),
    "a model that is not there": (["--model", "/not/there"], "/not/there"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case, capsys):
    words, said = REFUSED[case]
    assert said in refused(main, words, capsys)


def test_a_parameter_that_the_model_lacks(model, capsys):
    said = refused(main, ["--model", model, "no_such"], capsys)
    assert said == "no parameter has 'no_such' in its name"


def test_as_a_process_and_in_a_terminal():
    code, out, err = run("tinyllm", "gradcheck", "relu")
    assert (code, err) == (0, b"1 gradients checked, 0 wrong\n")
    assert out.split()[-1] == b"ok"
    code, screen = in_terminal("tinyllm.gradcheck", "relu", "--color", "always")
    assert code == 0
    assert "\x1b[32mok\x1b[0m" in screen
    assert redirected(["tinyllm.gradcheck", "relu"], ">&-")[0] == 2
