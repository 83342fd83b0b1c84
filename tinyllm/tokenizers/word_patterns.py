"""The regular expressions that cut a text into words before byte-level BPE.

A file's expression is compared with those here and never compiled: it could take for ever. Python's
`re` has no \\p{L}, and its \\s is not Unicode's White_Space, so classes are written out as ranges.
Which characters are letters and numbers is unicodedata's to say, Unicode 14 in Python 3.11: one
that was assigned later may be cut otherwise by a library that knows it. Punctuation is that of
Unicode 8 and all symbols of ASCII, as in tokenizers and BERT.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from tinyllm.tokenizers.unicode import WHITE_SPACE, category

Split: TypeAlias = Callable[[str], list[str]]  # text -> words, which joined are the text again

# As files have them.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"  # the inner brackets are a set in a set, and say nothing
FALCON = "[0-9][0-9][0-9]"
# As tokenizers has them in its code.
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
EACH_DIGIT, DIGITS, PUNCTUATION = r"\p{N}", r"\p{N}+", r"\p{P}+"
SPLITS = (LLAMA3, QWEN2, BLOOM, FALCON)

_CLASS_OR_BRACKETS = re.compile(r"\\p\{.\}|\\s|\\S|\[\^?[^]]*\]")
_NAMED = re.compile(r"\\p\{(.)\}|\\(s)")
_LATIN, _BASIC = 0x80, 0x10000  # where ASCII ends, and where Unicode's first plane does
_BEYOND = re.compile("[\U00010000-\U0010ffff]")
_STAND_INS = {"L": "א", "N": "²", "P": "¡"}  # and ¤, which is none of these


@lru_cache
def split_by(pattern: str) -> Split:
    """Return the function that cuts a text into what `pattern` matches and what lies between.

    `pattern` is one of this file's, and takes a time in proportion to the text.
    """

    def split(text: str) -> list[str]:
        if text.isascii():
            return _cut(_compiled(pattern, _LATIN), text)
        if not _BEYOND.search(text):
            return _cut(_compiled(pattern, _BASIC), text)
        # One class holds hundreds of ranges beyond the first plane, and re tries them one by one.
        words, at = [], 0
        for shape in _cut(_compiled(pattern, _BASIC), _BEYOND.sub(_stand_in, text)):
            words.append(text[at : at + len(shape)])
            at += len(shape)
        return words

    return split


def _cut(pattern: re.Pattern[str], text: str) -> list[str]:
    return [word for word in pattern.split(text) if word]


def _kind(character: str) -> str:
    """L for a letter, N for a number, P for punctuation, and C for the rest."""
    kind = unicodedata.category(character)[0]
    if kind in "LN":
        return kind
    symbol_of_ascii = kind == "S" and character.isascii()
    return "P" if symbol_of_ascii or category(character)[0] == "P" else "C"


def _stand_in(match: re.Match[str]) -> str:
    """A character of the first plane that every pattern takes for the one that was found."""
    return _STAND_INS.get(_kind(match[0]), "¤")


@lru_cache
def _compiled(pattern: str, limit: int) -> re.Pattern[str]:
    """Compile `pattern` for texts of characters below `limit`; its match is kept by `split`."""

    def name_ranges(match: re.Match[str]) -> str:
        return WHITE_SPACE if match[2] else _ranges(match[1], limit)

    def write_out(match: re.Match[str]) -> str:
        found = match[0]
        if found.startswith("["):
            return _NAMED.sub(name_ranges, found)
        negated = "^" if found == r"\S" else ""
        return f"[{negated}{_NAMED.sub(name_ranges, found.lower() if negated else found)}]"

    if pattern == BLOOM:
        pattern = BLOOM.replace("|[", "|").replace("])", ")")
    return re.compile(f"({_CLASS_OR_BRACKETS.sub(write_out, pattern)})")


@lru_cache
def _ranges(name: str, limit: int) -> str:
    """The characters of the kind `name` below `limit`, as the inside of brackets."""
    kinds = "".join(_kind(chr(code)) for code in range(limit))
    spans = [found.span() for found in re.finditer(f"{name}+", kinds)]
    return "".join(f"\\u{start:04x}-\\u{end - 1:04x}" for start, end in spans)
