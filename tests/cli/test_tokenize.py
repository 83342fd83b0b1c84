"""tinyllm tokenize: ids and text, there and back."""

import io
import re
import sys

import pytest

from cli.commands import refused
from tiny_vocabulary import id_of, tokenizer_dict, write_json
from tinyllm.__main__ import main as package_main
from tinyllm.cli.tokenize import main, side_by_side

TEXT = "the é\n</s>😀"


@pytest.fixture
def out(model, capsys):
    """Run the command: -> what it prints."""

    def out(*words):
        assert main(["-m", str(model), *words]) == 0
        printed, err = capsys.readouterr()
        assert err == ""
        return printed

    return out


def test_ids_and_back(out, loaded, monkeypatch):
    ids = loaded.tokenizer.encode(TEXT)
    assert out(TEXT, "--ids") == " ".join(map(str, ids)) + "\n"
    assert out(" ".join(map(str, ids)), "--decode") == TEXT
    assert out(str(ids), "--decode") == TEXT
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode()), "ascii"))
    assert out("--count") == f"{len(ids)}\n"


def test_each_token_with_its_id_and_text(out):
    assert out("the\n\\é\x1b", "--bos", "--eos") == (
        "  1  <s>\n"
        f"{id_of('▁the')}   the\n"
        f"{id_of('<0x0A>'):>3}  \\n\n"
        f"{id_of('<0x5C>'):>3}  \\\\\n"
        f"{id_of('é')}  é\n"
        f"{id_of('<0x1B>'):>3}  \\x1b\n"
        "  2  </s>\n"
    )
    assert out("") == ""


def test_bytes_that_are_no_character_are_shown_as_such(out):
    shown = out("😀", "--show")
    assert shown == r" |\xf0|\x9f|\x98|\x80" + "\n"


def test_special_tokens_are_text_unless_asked_for(out):
    assert "2" not in out("</s>", "--ids").split()
    assert "2" in out("</s>", "--ids", "--parse-special").split()


def test_colours_are_for_who_wants_them(out, loaded):
    plain = out("the in", "--show")
    assert plain == " the| in\n"
    colored = out("the in", "--show", "--color=always")
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == " the in\n"
    assert len(set(re.findall(r"\x1b\[[0-9;]+m", colored))) == 3  # two grounds, and the end of each
    assert side_by_side(loaded.tokenizer, [], colored=True) == ""


def test_a_tokenizer_alone_will_do(tmp_path, model, capsys):
    file = write_json(tmp_path / "tokenizer.json", tokenizer_dict())
    for path in (file, tmp_path, model / "tokenizer.bin"):
        assert main(["--tokenizer", str(path), "the in", "--ids"]) == 0
    assert len(set(capsys.readouterr().out.splitlines())) == 1


def test_the_package_has_it_and_python_keeps_its_own(model, capsys):
    assert package_main(["tokenize", "-m", str(model), "ab", "--count"]) == 0
    assert capsys.readouterr().out == f"{1 + 1}\n"
    import tokenize

    assert tokenize.__file__.endswith("tokenize.py")
    assert "tinyllm" not in tokenize.__file__


BAD = {
    "no ids": (["x 1", "--decode"], "'x' is no token id"),
    "half an id": (["1.5", "--decode"], "'1.5' is no token id"),
    "an id too large": (["99999", "--decode"], "token id 99999 is not in the vocabulary"),
    "a negative id": (["--decode", "--", "-1"], "token id -1 is not in the vocabulary"),
    "half a surrogate pair": (["\ud800"], "lone surrogate"),
    "BOS of a text": (["1 2", "--decode", "--bos"], "--bos is not read with --decode"),
    "EOS of a text": (["1 2", "--decode", "--eos"], "--eos is not read with --decode"),
    "marks in ids": (["1", "--decode", "--parse-special"], "--parse-special is not read with"),
    "two forms": (["ab", "--ids", "--count"], "not allowed with argument"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_one_line(model, capsys, case):
    words, says = BAD[case]
    assert says in refused(main, ["-m", model, *words], capsys)


def test_a_tokenizer_that_is_not_there(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    assert "hf download org/name" in refused(main, ["-m", "org/name", "ab"], capsys)
    assert "has no tokenizer" in refused(main, ["-m", tmp_path, "ab"], capsys)


def test_a_closed_output_is_one_line(model, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["-m", str(model), "ab"]) == 2
    assert "standard output is closed" in capsys.readouterr().err
