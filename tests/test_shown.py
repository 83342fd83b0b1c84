"""tinyllm.shown: nothing that a file says breaks a line or commands a terminal."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.shown import plain, quantity, shown


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=9))
def test_a_value_fits_one_line(value):
    assert shown(value).isprintable()


def test_a_long_value_is_cut():
    assert len(shown("x" * 10**6)) <= 120
    assert len(shown([[10**100] * 100] * 100)) == 200


@given(st.text(st.characters(codec="utf-8")))
def test_a_name_is_itself_or_its_repr(name):
    assert plain(name) == (name if name.isprintable() else repr(name))
    assert plain(name).isprintable()


@given(st.integers(0, 10**17))
def test_a_quantity_has_three_digits_and_the_right_size(number):
    text, unit = quantity(number, "B").split()
    assert len(text.replace(".", "")) <= 3
    assert float(text) * 1000 ** " kMGTP".index(unit[:-1] or " ") == pytest.approx(
        number, rel=0.005
    )


def test_paths_are_names():
    assert plain(Path("a") / "config.json") == str(Path("a") / "config.json")
    assert plain("a\x1b[31m") == r"'a\x1b[31m'"
