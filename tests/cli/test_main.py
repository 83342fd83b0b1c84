"""tinyllm.__main__, which the console script `tinyllm` runs too, and what all commands share."""

import importlib
import sys
import tomllib

import pytest

from cli.commands import refused, run
from conftest import ROOT
from tinyllm import __version__
from tinyllm.__main__ import COMMANDS, main

MODULES = ["tinyllm.__main__", "tinyllm.cli.tokenize"]
MODULES += [f"tinyllm.{name.replace('-', '_')}" for name in COMMANDS if name != "tokenize"]


@pytest.fixture(params=MODULES)
def any_main(request):
    return importlib.import_module(request.param).main


def test_the_console_script_is_this_function(model, loaded, capsys, monkeypatch):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["tinyllm"].partition(":")
    script = getattr(importlib.import_module(module), name)
    monkeypatch.setattr(sys, "argv", ["tinyllm", "generate", "-m", str(model), "ab", "--seed=1"])
    assert script() == 0
    assert capsys.readouterr().out == loaded.generate("ab", seed=1).text + "\n"


def test_the_package_runs_as_a_program(model, loaded):
    words = ["generate", "-m", model, "ab", "--seed=1", "-n", "9"]
    wanted = (loaded.generate("ab", seed=1, max_tokens=9).text + "\n").encode()
    assert run("tinyllm", *words, python=["-W", "error"]) == (0, wanted, b"")
    assert run("tinyllm", "nonsense")[0] == 2


def test_without_a_command_it_lists_them(capsys):
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert all(f"  {name} " in out for name in COMMANDS)
    assert err == ""


UNKNOWN = {
    "generte": "there is no command 'generte'; did you mean generate?",
    "Convert": "there is no command 'Convert'; did you mean convert?",
    "fly": "there is no command 'fly'; there are generate, chat, train, ",
    "--quiet": "the command comes first, its options after it",
    "--model": "unrecognized arguments: --model",
}


@pytest.mark.parametrize("word", UNKNOWN)
def test_an_unknown_command_comes_with_a_suggestion(capsys, word):
    assert refused(main, [word, "-m", "x", "ab"], capsys).startswith(UNKNOWN[word])


def test_help_fits_a_terminal(any_main, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as done:
        any_main(["--help"])
    assert not done.value.code
    out, err = capsys.readouterr()
    assert err == ""
    assert [line for line in out.splitlines() if len(line) > 80] == []


def test_version_is_the_packages(any_main, capsys):
    with pytest.raises(SystemExit) as done:
        any_main(["--version"])
    assert not done.value.code
    assert capsys.readouterr() == (f"tinyllm {__version__}\n", "")


@pytest.mark.parametrize(
    "words", [["generate", "-m", "x", "--temper=1"], ["convert", "a", "b", "--vers"]]
)
def test_an_abbreviation_is_no_option(capsys, words):
    assert f"unrecognized arguments: {words[-1]}" in refused(main, words, capsys)


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [("cupy", 3, "the cupy backend needs"), ("nonsense", 2, "no backend is called 'nonsense'")],
)
def test_a_backend_that_is_not_there(model, capsys, monkeypatch, name, code, says):
    monkeypatch.setenv("TINYLLM_BACKEND", name)
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "tinyllm_cupy", raising=False)
    assert says in refused(main, ["generate", "-m", model, "ab"], capsys, code)


def test_an_empty_backend_is_the_default(model, capsys, monkeypatch):
    monkeypatch.setenv("TINYLLM_BACKEND", "")
    assert main(["generate", "-m", str(model), "ab", "-n", "0"]) == 0
    monkeypatch.setenv("TINYLLM_BACKEND", "nonsense")
    assert main(["generate", "-m", str(model), "ab", "-n", "0", "--backend=numpy"]) == 0
