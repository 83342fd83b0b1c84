"""A precompiled_charsmap is read into the rules that it was made of, or refused in one line."""

import base64
import random
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_unigram import ALPHABET, RULES, character_map_bytes
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.character_map import (
    CharacterMap,
    precompiled_normalizer,
    read_base64_character_map,
    read_character_map,
)

CONTENT = character_map_bytes()
PATH = Path("x.model")
rules = st.dictionaries(
    st.text(min_size=1, max_size=3), st.text(st.characters(codec="utf-8", min_codepoint=1))
)


@given(rules, st.text())
def test_the_strings_that_begin_at_a_place_are_found_the_shortest_first(rules, text):
    rules = {key: value for key, value in rules.items() if "\0" not in key}
    text = "".join(rules)[:20] + text
    characters = CharacterMap(character_map_bytes(rules or {"a": "b"}))
    for at in range(len(text)):
        expected = [
            (n, (rules or {"a": "b"})[text[at : at + n]])
            for n in range(1, len(text) - at + 1)
            if text[at : at + n] in (rules or {"a": "b"})
        ]
        assert list(characters.matches(text, at)) == expected
        assert characters.longest(text, at) == (expected[-1] if expected else None)


def unit(label=0, offset=0, value=None, has_value=False):
    bits = label | offset << 10 | has_value << 8 if value is None else 2**31 | value
    return bits.to_bytes(4, "little")


def content(*units, texts=b"x\0"):
    trie = b"".join(units)
    return len(trie).to_bytes(4, "little") + trie + texts


def test_an_offset_may_be_multiplied_by_256():
    units = [unit(offset=1)] + [unit(255)] * 511
    units[0] = (1 << 10 | 512).to_bytes(4, "little")  # leads to 256 ^ label
    units[256 ^ 97] = unit(97, offset=(256 ^ 97) ^ 300, has_value=True)
    units[300] = unit(value=0)
    assert CharacterMap(content(*units)).longest("a", 0) == (1, "x")


def test_a_trie_that_leads_back_to_itself_ends():
    units = [unit(255)] * 256
    units[0] = unit(offset=0)
    units[97] = unit(97, offset=97)
    assert CharacterMap(content(*units)).longest("a" * 1000, 0) is None


BAD = {
    "nothing": (b"", "its trie has 0 of 0 bytes"),
    "only a size": (b"\4\0\0\0", "its trie has 0 of 4 bytes"),
    "no trie": (b"\0\0\0\0xyz", "its trie has 0 of 7 bytes"),
    "more than there is": (CONTENT[:40], r"its trie has \d+ of 40 bytes"),
    "half a unit": (b"\3\0\0\0abcdef", "its trie has 3 of 10 bytes"),
    "a value that is none": (content(unit(has_value=True)), "has no value"),
    "a value outside": (content(unit(has_value=True, offset=99)), "has no value"),
    "a value behind the last": (content(unit(has_value=True, offset=1)), "has no value"),
    "a place outside the texts": (
        content(unit(has_value=True, offset=1), unit(value=9)),
        "no replacement ends within 256 bytes from 9",
    ),
    "a text without end": (
        content(unit(has_value=True, offset=1), unit(value=0), texts=b"abc"),
        "no replacement ends",
    ),
    "a long text": (
        content(unit(has_value=True, offset=1), unit(value=0), texts=b"a" * 256 + b"\0"),
        "no replacement ends",
    ),
    "no text": (
        content(unit(has_value=True, offset=1), unit(value=0), texts=b"\xff\0"),
        "can't decode",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_map_is_refused_in_one_line(case):
    with pytest.raises(TokenizerError, match=BAD[case][1]) as caught:
        read_character_map(PATH, BAD[case][0])
    assert str(caught.value).startswith("x.model: the precompiled_charsmap is damaged: ")
    assert "\n" not in str(caught.value)


def test_a_trie_of_unheard_size_is_refused(monkeypatch):
    monkeypatch.setattr("tinyllm.tokenizers.character_map._MOST_BYTES", 64)
    with pytest.raises(TokenizerError, match="its trie has"):
        read_character_map(PATH, CONTENT)


@pytest.mark.parametrize("text", ["!", "é", "abc"])
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(TokenizerError, match="is no base64"):
        read_base64_character_map(PATH, text)


def test_changed_bytes_raise_nothing_else():
    choices = random.Random(0)
    for _ in range(300):
        damaged = bytearray(CONTENT)
        for _ in range(choices.randrange(1, 5)):
            damaged[choices.randrange(len(damaged))] = choices.randrange(256)
        try:
            characters = read_character_map(PATH, bytes(damaged))
        except TokenizerError:
            continue
        for at in range(len(ALPHABET)):
            characters.longest(ALPHABET, at)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Ａﬁ\x01½\tz", "afi1 2 z"),
        ("a\u0301", "á"),
        ("ª\u0301b", "ab"),  # the mark goes with its letter
        ("Ａ\u0301\u0301b", "a\u0301\u0301b"),  # in 7 bytes it does not
        ("x\u0301\u0327", "b"),
        ("\r\n", " "),
        ("\r\r\n", "  "),
    ],
)
def test_the_normalizer_of_tokenizer_json_is_as_worked_out_by_hand(text, expected):
    assert precompiled_normalizer(CharacterMap(CONTENT))(text) == expected


def test_the_normalizer_of_tokenizer_json_does_what_the_librarys_does():
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    theirs = library.normalizers.Precompiled(CONTENT)
    text = base64.b64encode(CONTENT).decode()
    mine = precompiled_normalizer(read_base64_character_map(PATH, text))
    choices = random.Random(0)
    for _ in range(500):
        text = "".join(choices.choices([*ALPHABET, *RULES], k=choices.randrange(12)))
        assert mine(text) == theirs.normalize_str(text), ascii(text)
