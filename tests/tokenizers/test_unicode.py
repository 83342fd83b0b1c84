"""Kinds of characters are Unicode 8.0's, and normal forms are Python's without their slowness."""

import random
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokenizers.unicode import WHITE_SPACE, CharacterTable, category, normal_form

FORMS = ("NFC", "NFD", "NFKC", "NFKD")


@pytest.mark.parametrize(
    ("character", "kind"),
    [
        *[("a", "Ll"), ("!", "Po"), ("\u0301", "Mn"), ("\x85", "Cc"), ("\u166d", "Po")],
        *[("\u1734", "Mn"), ("\U000111c9", "Po"), ("\ufeff", "Cf"), ("\u0378", "Cn")],
    ],
)
def test_kinds_are_those_of_unicode_8(character, kind):
    assert category(character) == kind


@pytest.mark.parametrize("code", [0x61D, 0x7FD, 0x2E43, 0x2E5D, 0x1E000, 0x1ABF, 0x10D24, 0xECE])
def test_marks_and_punctuation_that_came_later_have_no_kind(code):
    assert category(chr(code)) == "Cn"


@pytest.mark.parametrize("code", [0x61E, 0x7F3, 0x2E42, 0xAC00, 0x1AB0, 0x1E8D0, 0x16AF5])
def test_their_neighbours_have(code):
    assert category(chr(code)) == unicodedata.category(chr(code)) != "Cn"


def test_white_space_is_unicodes_property_and_not_pythons():
    assert len(WHITE_SPACE) == 25
    assert set(WHITE_SPACE) == {c for c in map(chr, range(0x110000)) if c.isspace()} - set(
        "\x1c\x1d\x1e\x1f"
    )


@given(st.text(st.characters(exclude_categories=["Cn", "Cs"]) | st.sampled_from("가ᄀ̧́é")))
def test_normal_forms_are_pythons(text):
    for form in FORMS:
        assert normal_form(form, text) == unicodedata.normalize(form, text)


def test_marks_are_ordered_as_python_orders_them():
    marks = [chr(code) for code in range(0x300, 0x500) if unicodedata.combining(chr(code))]
    choices = random.Random(0)
    for _ in range(300):
        text = "a" + "".join(choices.choices(marks, k=9)) + choices.choice(["가", "e", ""])
        for form in FORMS:
            assert normal_form(form, text) == unicodedata.normalize(form, text)


def test_a_character_later_than_unicode_8_is_not_taken_apart():
    assert normal_form("NFD", "\U00011938") == "\U00011938"


@pytest.mark.untraced
@pytest.mark.parametrize("form", FORMS)
def test_a_hundred_thousand_marks_take_no_minutes(form):
    """unicodedata.normalize takes 10 seconds."""
    start = time.process_time()
    text = normal_form(form, "\u0301\u0327" * 50_000)
    assert time.process_time() - start < 2
    assert text == "\u0327" * 50_000 + "\u0301" * 50_000


def test_a_table_asks_once_for_each_character():
    asked = []
    table = CharacterTable(lambda character: asked.append(character) or character * 2)
    assert "aba".translate(table) == "aabbaa"
    assert asked == ["a", "b"]
