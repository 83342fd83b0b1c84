"""Unicode as tokenizers know it: kinds of characters, white space, and normal forms in linear time.

BERT's rules ask what kind of character one is. The `tokenizers` library answers from the tables of
Unicode 8.0, in which later characters have no kind; so does this, on every version of Python.
"""

import unicodedata
from bisect import bisect
from collections.abc import Callable
from functools import cache, partial
from itertools import groupby
from typing import Literal, TypeAlias

from tinyllm.errors import TokenizerError

Form: TypeAlias = Literal["NFC", "NFD", "NFKC", "NFKD"]

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)

# Ranges with all punctuation, marks and controls that are later than Unicode 8.0, and none before.
_LATER = """61D-61D 7FD-7FD 890-8E2 9FD-9FE A76-A76 AFA-AFF B55-B55 C04-C04 C3C-C3C C77-C77 C84-C84
    D00-D00 D3B-D3C D81-D81 EBA-EBA ECE-ECE 180F-180F 1885-1886 1ABF-1ACE 1B4E-1B4F 1B7D-1B7F
    1DF6-1DFB 2E43-2E5D A82C-A82C A8C5-A8C5 A8FF-A8FF A9BD-A9BD 10D24-10F89 11070-11074 110C2-110CD
    111CF-111CF 1123E-1123E 11241-11241 1133B-1133B 113B8-113E2 11438-1145E 11660-1166C 116B9-116B9
    1182F-11FFF 12FF1-1612F 16D6D-16F4F 16FE2-16FE4 1CF00-1CF46 1E000-1E5FF 1E944-1E95F"""
_BOUNDS = [
    int(end, 16) + (i % 2) for i, end in enumerate(_LATER.replace("-", " ").split())
]  # of the ranges, begin and end in turn
_CHANGED = {"\u166d": "Po", "\u1734": "Mn", "\U000111c9": "Po"}  # have another kind since


@cache
def category(character: str) -> str:
    """Return the general category in Unicode 8.0, such as "Po"; "Cn" if it is a later character.

    Letters and symbols are told as Python's own tables have them.
    """
    if character in _CHANGED:
        return _CHANGED[character]
    later = bisect(_BOUNDS, ord(character)) % 2
    return "Cn" if later else unicodedata.category(character)


class CharacterTable(dict[int, str]):
    """A function from a character to text as a table for `str.translate`, filled as it is used."""

    def __init__(self, function: Callable[[str], str]) -> None:
        """Make the table of `function`."""
        self._function = function

    def __missing__(self, code: int) -> str:
        """Call the function, once for each character."""
        self[code] = self._function(chr(code))
        return self[code]


def _decompose(form: Form, character: str) -> str:
    later = category(character) == "Cn"
    return character if later else unicodedata.normalize(form, character)


_CANONICAL = CharacterTable(partial(_decompose, "NFD"))
_COMPATIBLE = CharacterTable(partial(_decompose, "NFKD"))


def normal_form(form: Form, text: str) -> str:
    """Return `text` in the normal form "NFC", "NFD", "NFKC" or "NFKD" (Unicode annex 15).

    As `unicodedata.normalize`, which alone takes quadratic time to order a long run of marks.
    """
    if unicodedata.is_normalized(form, text):
        return text
    decomposed = text.translate(_COMPATIBLE if "K" in form else _CANONICAL)
    runs = groupby(decomposed, key=lambda character: unicodedata.combining(character) > 0)
    ordered = "".join(
        "".join(sorted(run, key=unicodedata.combining) if are_marks else run)
        for are_marks, run in runs
    )
    return unicodedata.normalize("NFC", ordered) if form.endswith("C") else ordered


def require_unicode(text: str) -> None:
    """Raise TokenizerError where `text` has half of a surrogate pair, which is no character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise TokenizerError(
            f"the text has a lone surrogate, {text[cause.start]!r}, at position {cause.start};"
            " it is no Unicode character and cannot be encoded"
        ) from cause
