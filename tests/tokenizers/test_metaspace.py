"""Metaspace writes ▁ for a space, in all the spellings that files have."""

from pathlib import Path

import pytest

from tiny_vocabulary import metaspace
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.metaspace import metaspace_bytes, metaspace_pretokenizer, read_metaspace
from tinyllm.tokenizers.pretokenizers import read_pretokenizer

PATH = Path("x")


@pytest.mark.parametrize(
    ("spec", "text", "at_start", "words"),
    [
        (metaspace("always", True), "a b", False, ["▁a", "▁b"]),
        (metaspace("always", True), " a  b ", True, ["▁a", "▁", "▁b", "▁"]),
        (metaspace("first", True), "a b", True, ["▁a", "▁b"]),
        (metaspace("first", True), "a b", False, ["a", "▁b"]),
        (metaspace("never", True), "a b", True, ["a", "▁b"]),
        (metaspace("always", False), "a b", True, ["▁a▁b"]),
        ({"add_prefix_space": True, "str_rep": "▁"}, "a b", True, ["▁a", "▁b"]),
        ({"add_prefix_space": False}, "a b", True, ["a", "▁b"]),
        ({}, "a", False, ["▁a"]),
        ({"replacement": "^"}, "a b▁", True, ["^a", "^b▁"]),
    ],
)
def test_words_are_those_worked_out_by_hand(spec, text, at_start, words):
    assert metaspace_pretokenizer(read_metaspace(PATH, spec))(text, at_start) == words


@pytest.mark.parametrize(
    "spec",
    [
        {"prepend_scheme": "last"},
        {"replacement": "ab"},
        {"replacement": ""},
        {"replacement": 5},
        {"split": "yes"},
        {"add_prefix_space": 1},
        {"add_prefix_space": False, "prepend_scheme": "always"},
    ],
)
def test_another_spelling_is_refused(spec):
    with pytest.raises(TokenizerError, match=r"^x: .* is no Metaspace that tinyllm knows"):
        read_metaspace(PATH, spec)


def test_at_the_start_of_a_text_no_space_is_shown_where_one_was_put():
    for scheme, text in [("always", "ab"), ("first", "ab"), ("never", " a b")]:
        in_text, at_start = metaspace_bytes(read_metaspace(PATH, {"prepend_scheme": scheme}))
        assert in_text("▁a▁b") == b" a b"
        assert at_start("▁a▁b").decode() == text


FIRST = {"type": "Metaspace", "prepend_scheme": "first"}
SPLIT = {"type": "WhitespaceSplit"}


@pytest.mark.parametrize(
    ("steps", "text", "at_start", "words"),
    [
        ([], "a b", True, ["a b"]),
        ([SPLIT], " a\tb\u3000c\x1cd", True, ["a", "b", "c\x1cd"]),
        ([SPLIT, FIRST], "a b", True, ["▁a", "b"]),
        ([SPLIT, FIRST], " a b", True, ["a", "b"]),
        ([SPLIT, FIRST], "a b", False, ["a", "b"]),
        ([SPLIT, SPLIT, FIRST], "a b", True, ["▁a", "b"]),
        ([SPLIT, FIRST], " ", True, []),
        ([{"type": "BertPreTokenizer"}, FIRST], "a,b", True, ["▁a", ",", "b"]),
    ],
)
def test_steps_follow_one_another(steps, text, at_start, words):
    spec = {"type": "Sequence", "pretokenizers": steps}
    assert list(read_pretokenizer(PATH, spec)(text, at_start)) == words
