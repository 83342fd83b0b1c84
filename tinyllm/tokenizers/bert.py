"""BERT's way from a text to words: clean, space out, strip accents, lower; then split.

Devlin et al. 2018, "BERT" (arXiv:1810.04805), with google-research/bert, tokenization.py; where
that leaves room, as the BertNormalizer and BertPreTokenizer of huggingface/tokenizers do.
"""

import re
import unicodedata
from string import punctuation

from tinyllm.tokenizers.tokenizer import Normalize
from tinyllm.tokenizers.unicode import WHITE_SPACE, CharacterTable, category, normal_form

_SPACES = re.compile(f"[{WHITE_SPACE}]+")
_CHINESE = (  # the blocks of ideographs, each a word of its own; not of Kana, nor of Hangul
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def _clean(character: str) -> str:
    """Drop controls and what stands for a lost character; one kind of space is enough."""
    if character in "\t\n\r":  # which are controls too
        return " "
    if character == "\ufffd" or category(character) in ("Cc", "Cf", "Co"):
        return ""
    return " " if character in WHITE_SPACE else character


def _space_chinese(character: str) -> str:
    inside = any(first <= ord(character) <= last for first, last in _CHINESE)
    return f" {character} " if inside else character


def _space_punctuation(character: str) -> str:
    """ASCII's symbols count too, such as $ and ^."""
    isolated = character in punctuation or category(character).startswith("P")
    return f" {character} " if isolated else character


def _drop_mark(character: str) -> str:
    return "" if category(character) == "Mn" else character


_CLEANED = CharacterTable(_clean)
_CHINESE_SPACED = CharacterTable(_space_chinese)
_PUNCTUATION_SPACED = CharacterTable(_space_punctuation)
_WITHOUT_MARKS = CharacterTable(_drop_mark)
_LOWERED = CharacterTable(str.lower)  # of one character: a Σ is never the last of its word


def lowercase(text: str) -> str:
    """Lower each character by itself."""
    return text.translate(_LOWERED)


def strip_accents(text: str) -> str:
    """Drop all marks of Python's Unicode; `tokenizers` knows those of Unicode 9.

    One that is part of a letter is not dropped.
    """
    return "".join(c for c in text if not unicodedata.category(c).startswith("M"))


def bert_normalizer(
    *, clean_text: bool, handle_chinese_chars: bool, strip_accents: bool | None, lowercase: bool
) -> Normalize:
    """Return BERT's normalizer; by default accents go where capitals do."""
    tables = [_CLEANED] if clean_text else []
    if handle_chinese_chars:
        tables.append(_CHINESE_SPACED)
    strips = lowercase if strip_accents is None else strip_accents

    def normalize(text: str) -> str:
        for table in tables:
            text = text.translate(table)
        if strips:
            text = normal_form("NFD", text).translate(_WITHOUT_MARKS)
        return text.translate(_LOWERED) if lowercase else text

    return normalize


def bert_words(text: str, at_start: bool) -> list[str]:
    """Split at white space, and around each character of punctuation."""
    return [word for word in _SPACES.split(text.translate(_PUNCTUATION_SPACED)) if word]
