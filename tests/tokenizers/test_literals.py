"""Literals are found from the left, the longest first."""

import itertools
import random
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_byte_level import VOCAB, byte_level_dict
from tiny_vocabulary import added_token, write_json
from tinyllm.tokenizers import load_tokenizer
from tinyllm.tokenizers.literals import Edges, Literals

sets = st.lists(st.text("ab<", min_size=1, max_size=4), unique=True, max_size=6)


@given(sets, st.text("ab<c", max_size=30))
def test_each_literal_is_the_longest_at_its_place_and_the_rest_holds_none(literals, text):
    names = dict(enumerate(literals))
    parts = list(Literals({literal: i for i, literal in names.items()}).split(text))
    assert "".join(part if isinstance(part, str) else names[part] for part in parts) == text
    at = 0
    for part in parts:
        if isinstance(part, str):
            assert part
            inside = range(at, at + len(part))
            assert not any(text.startswith(literal, i) for literal in literals for i in inside)
        else:
            fitting = [literal for literal in literals if text.startswith(literal, at)]
            assert names[part] == max(fitting, key=len)
        at += len(part if isinstance(part, str) else names[part])
    assert all(isinstance(a, int) or isinstance(b, int) for a, b in itertools.pairwise(parts))


def split(text, **flags):
    return list(Literals({"<m>": 7, "<": 8}, {7: Edges(**flags)}).split(text))


def test_a_literal_may_take_the_white_space_beside_it():
    text = "a \n<m>\u3000 \x1cb <m> <m>"
    assert split(text) == ["a \n", 7, "\u3000 \x1cb ", 7, " ", 7]
    assert split(text, lstrip=True) == ["a", 7, "\u3000 \x1cb", 7, 7]
    assert split(text, rstrip=True) == ["a \n", 7, "\x1cb ", 7, 7]
    assert split(text, lstrip=True, rstrip=True) == ["a", 7, "\x1cb", 7, 7]
    assert split("<m>", lstrip=True, rstrip=True) == [7]


@pytest.mark.parametrize("beside", ["a", "9", "_", "\u0301", "Ⓐ", "\u200d", "Ⅷ", "‿"])
def test_a_literal_may_need_to_be_a_word_of_its_own(beside):
    for text in (beside + "<m>", "<m>" + beside, f" <m>{beside}<"):
        assert 7 not in split(text, single_word=True)
        assert 7 in split(text)


@pytest.mark.parametrize("beside", [" ", "-", "²", "😀", "<", "☂"])
def test_what_is_no_letter_leaves_it_one(beside):
    assert 7 in split(f"{beside}<m>{beside}", single_word=True)


def test_edges_are_those_of_the_tokenizers_library(tmp_path):
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    names = {"<l>": {"lstrip": True}, "<r>": {"rstrip": True}, "the": {"single_word": True}}
    names["in "] = {"single_word": True, "lstrip": True, "normalized": True}
    added = [
        added_token(name, len(VOCAB) + i, special=name.startswith("<"), **flags)
        for i, (name, flags) in enumerate(names.items())
    ]
    path = write_json(
        tmp_path / "tokenizer.json", byte_level_dict(added_tokens=added, model={"vocab": VOCAB})
    )
    tokenizer, theirs = load_tokenizer(path), library.Tokenizer.from_file(str(path))
    choices = random.Random(0)
    parts = [*"ab _9é²\u3000\n\x1c\u0301Ⓐ", *names, "  ", " the ", " in"]
    for _ in range(1000):
        text = "".join(choices.choices(parts, k=choices.randrange(12)))
        assert tokenizer.encode(text, allow_special=True) == theirs.encode(text).ids, text
