"""Cut a text into what readers see as characters: a letter with the marks that belong to it.

Unicode annex 29, extended grapheme clusters, as far as clusters of up to five bytes of UTF-8 go:
the rules that join flags, emoji and Indic conjuncts make longer ones only, and are not here.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache

_PREPENDED = {
    *map(chr, [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0xD4E, 0x110BD, 0x110CD]),
    *map(chr, [0x111C2, 0x111C3, 0x1193F, 0x11941, 0x11A3A, *range(0x11A84, 0x11A8A), 0x11D46]),
}
_JOINING = {  # no marks, and join all the same
    *map(chr, [0xE33, 0xEB3, 0x200C, 0x200D, 0xFF9E, 0xFF9F]),
    *map(chr, [*range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)]),
}
_APART = {  # marks, and do not join
    *map(chr, [0x102B, 0x102C, 0x1038, *range(0x1062, 0x1065), *range(0x1067, 0x106E), 0x1083]),
    *map(chr, [*range(0x1087, 0x108D), 0x108F, *range(0x109A, 0x109D), 0x1A61, 0x1A63, 0x1A64]),
    *map(chr, [0xAA7B, 0xAA7D, 0x11720, 0x11721]),
}


def graphemes(text: str) -> Iterator[str]:
    """Yield the clusters of `text`, which joined are the text again."""
    begin = 0
    for i in range(1, len(text)):
        if not _joins(_kind(text[i - 1]), _kind(text[i])):
            yield text[begin:i]
            begin = i
    if text:
        yield text[begin:]


@cache
def _kind(character: str) -> str:
    """Tell the part that a character plays in `_joins`."""
    category = unicodedata.category(character)
    if character in _PREPENDED:
        return "prepended"
    if character in _JOINING or (category in ("Mn", "Me", "Mc") and character not in _APART):
        return "mark"
    if character in "\r\n":
        return character
    if category in ("Cc", "Cf", "Zl", "Zp"):
        return "control"
    return _hangul(ord(character))


def _hangul(code: int) -> str:
    """Tell leading consonants, vowels, trailing ones and their combinations; else "other"."""
    if 0x1100 <= code < 0x1160 or 0xA960 <= code < 0xA97D:
        return "L"
    if 0x1160 <= code < 0x11A8 or 0xD7B0 <= code < 0xD7C7:
        return "V"
    if 0x11A8 <= code < 0x1200 or 0xD7CB <= code < 0xD7FC:
        return "T"
    if 0xAC00 <= code < 0xD7A4:
        return "LVT" if (code - 0xAC00) % 28 else "LV"
    return "other"


_SYLLABLES = {
    "L": ("L", "V", "LV", "LVT"),
    "LV": ("V", "T"),
    "V": ("V", "T"),
    "LVT": ("T",),
    "T": ("T",),
}


def _joins(left: str, right: str) -> bool:
    """Whether two neighbours of these kinds belong to one cluster."""
    if left in ("control", "\r", "\n") or right in ("control", "\r", "\n"):
        return (left, right) == ("\r", "\n")
    return right == "mark" or left == "prepended" or right in _SYLLABLES.get(left, ())
