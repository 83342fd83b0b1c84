"""tinyllm.embeddings.wikitext"""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.embeddings.wikitext import dump_lines, is_dump, prose

SHOWN = {
    "'''Bold''' and [[target|label]] and [[plain]].": "'''Bold''' and label and plain.",
    "a{{t|{{u}}|x=[[y]]}}b": "ab",
    "a{{t|x=|}}b": "ab",
    "a{|\n! table\n| cell {{t}}\n|}b": "ab",
    "a<ref>b<ref name=c/></ref>d<ref name=e />f": "ad f",
    "a<!-- {{ -->b": "ab",
    "a[[File:x.png|thumb|a [[caption]] of it]]b": "ab",
    "[[Category:x]][[de:y]]z": "z",
    "a {{never closed\n== Heading ==\nb": "a \n== Heading ==\nb",
    "a }} b |} c": "a  b  c",
    "x<br/>y <sup>2</sup>": "x y  2 ",
    "see [http://a.b/c?d=e the label] here": "see [  the label] here",
    "x &amp;nbsp; y &lt;ref&gt;": "x &nbsp; y  ",
    "<math>\\frac{{a}}{b}</math>c": "c",
}


@pytest.mark.parametrize("wikitext", SHOWN)
def test_markup(wikitext):
    assert prose(wikitext) == SHOWN[wikitext]


PAGE = """<page>
    <title>Title</title>
    <ns>{ns}</ns>{redirect}
    <text xml:space="preserve">First &amp; second.{{{{x}}}}

Third.</text>
    <sha1>never shown</sha1>
</page>"""


def lines_of(dump):
    return [line for line in dump_lines(dump.splitlines()) if line]


def test_articles_are_read_and_other_pages_are_not():
    article = PAGE.format(ns=0, redirect="")
    assert lines_of(article) == ["First & second.", "Third."]
    assert lines_of(PAGE.format(ns=1, redirect="")) == []
    assert lines_of(PAGE.format(ns=0, redirect='<redirect title="x" />')) == []
    assert lines_of(PAGE.format(ns=1, redirect="") + "\n" + article) == [
        "First & second.",
        "Third.",
    ]


def test_a_dump_that_was_cut_is_read_as_far_as_it_goes():
    article = PAGE.format(ns=0, redirect="")
    assert lines_of(article + "\n" + article[:90]) == ["First & second.", "Third."]
    assert lines_of(article[30:]) == ["First & second.", "Third."]


def test_what_a_dump_begins_with():
    assert is_dump("\n  <mediawiki xmlns=")
    assert is_dump("<page>\n")
    assert not is_dump("A text about <mediawiki>")


HOSTILE = [
    "{{",
    "}}",
    "{|",
    "<ref>",
    "<ref",
    "<!--",
    "[[",
    "[[a|",
    "http://",
    "[http://",
    "'",
    "&",
    "<",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_is_linear_in_the_page(piece):
    start = time.perf_counter()
    prose(piece * 20_000)
    assert time.perf_counter() - start < 2


@given(st.lists(st.sampled_from([*HOSTILE, "a", "]]", "</ref>", "|}", "\n", "=", "-->", "|", ">"])))
def test_no_page_is_an_error_and_nothing_is_made_up(pieces):
    text = "".join(pieces)
    letters = iter(text)
    assert all(letter in letters for letter in prose(text).replace(" ", ""))
