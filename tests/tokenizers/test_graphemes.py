"""A letter and its marks are one cluster."""

import random
import unicodedata
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_unigram import character_map_bytes
from tinyllm.tokenizers.graphemes import graphemes


@pytest.mark.parametrize(
    "clusters",
    [
        [],
        ["a"],
        ["a", "b"],
        ["a\u0301\u0327", "b"],
        ["\r\n", "\r", "\r\n", "\n"],
        ["\t", "\u0301a"[0], "a"],
        ["\u200b", "\u0301", "a\u200d", "b"],
        ["\u0600a\u0301", "\u0600"],
        ["\u0600", "\r\n"],
        ["각", "한"],
        ["\u1100\u1161\u11a8\u0301", "\u1100\u1100가\u1161\u11a8\u11a8", "각\u11a8", "\u1161"],
        ["각", "\u1161"],
        ["\ua960\ud7b0\ud7cb", "x"],
        ["ก\u0e33", "\u0e40ก"[0], "ก"],
        ["\u1000", "\u102b"],
        ["\u0915\u093e"],
        ["a\ufe0f\U0001f3fb", "b\U000e0020"],
    ],
)
def test_clusters_are_those_worked_out_by_hand(clusters):
    assert list(graphemes("".join(clusters))) == clusters


@given(st.text())
def test_clusters_join_to_the_text(text):
    assert "".join(graphemes(text)) == text
    assert all(graphemes(text))


def test_a_mark_joins_where_the_library_lets_it():
    """A map of x alone tells: with a mark that joins it, the mark is lost."""
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    theirs = library.normalizers.Precompiled(character_map_bytes({"x": "y"}))
    choices = random.Random(0)
    every = map(chr, range(choices.randrange(50), 0x110000, 50))
    assigned = [c for c in every if unicodedata.category(c) not in ("Cn", "Cs")]
    marks = [chr(code) for code in (*range(0x300, 0x600), *range(0x900, 0xE00), 0x1038, 0x200C)]
    for character in assigned + [m for m in marks if unicodedata.category(m) != "Cn"]:
        joins = theirs.normalize_str("x" + character) == "y"
        assert joins == (len(list(graphemes("x" + character))) == 1), ascii(character)
