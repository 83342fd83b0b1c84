"""Literals are found from the left, the longest first."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokenizers.literals import Literals

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
