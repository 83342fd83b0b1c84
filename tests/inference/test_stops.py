"""tinyllm.inference.stops"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import UsageError
from tinyllm.inference.stops import StopStrings

texts = st.text(alphabet="ab#é", max_size=20)
strings = st.lists(st.text(alphabet="ab#é", min_size=1, max_size=4), max_size=3)


@given(texts, strings, st.lists(st.integers(0, 20)))
def test_the_text_ends_before_the_first_stop_string_however_it_is_cut(text, strings, cuts):
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    stops = StopStrings(strings)
    out = ""
    for start, end in itertools.pairwise(borders):
        out += stops.push(text[start:end])
        assert not any(s in out for s in strings)
    out += stops.flush()
    ends = [text.find(s) for s in strings if s in text]
    assert stops.found == bool(ends)
    if ends:
        # A longer string may begin earlier than one that was complete sooner: either is an end.
        assert text.startswith(out)
        assert any(text[len(out) :].startswith(s) for s in strings)
    else:
        assert out == text


@given(texts, st.text(alphabet="ab#é", min_size=1, max_size=4))
def test_of_one_string_it_is_the_first_occurrence(text, string):
    stops = StopStrings([string])
    out = "".join(stops.push(character) for character in text) + stops.flush()
    assert out == text.split(string)[0]


def test_a_string_that_overlaps_itself():
    stops = StopStrings(["aab"])
    assert [stops.push(c) for c in "aaab"] == ["", "", "a", ""]
    assert stops.found


@pytest.mark.parametrize("bad", [[""], "text"])
def test_what_is_no_list_of_strings_is_refused(bad):
    with pytest.raises(UsageError, match="stop"):
        StopStrings(bad)
