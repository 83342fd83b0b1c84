"""BERT's normalizer and pre-tokenizer do what those of the tokenizers library do."""

import itertools
import random
import unicodedata
from importlib import import_module

import pytest

from tinyllm.tokenizers.bert import bert_normalizer, bert_words, lowercase, strip_accents

NAMES = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
PLAIN = dict.fromkeys(NAMES, False)


def normalize(text, **flags):
    return bert_normalizer(**PLAIN | flags)(text)


@pytest.mark.parametrize(
    ("flags", "text", "expected"),
    [
        ({}, "Å\0\t\u3000世", "Å\0\t\u3000世"),
        ({"clean_text": True}, "a\0b\ufffdc\x07d\u200be\ue000f\x0bg", "abcdefg"),
        ({"clean_text": True}, "a\tb\nc\rd\xa0e\u3000f\u2028g", "a b c d e f g"),
        ({"handle_chinese_chars": True}, "a世界b한か", "a 世  界 b한か"),
        ({"strip_accents": True}, "Åé\u0327ü", "Aeu"),
        ({"lowercase": True}, "ÅΑΣ İ", "åας i̇".replace("ς", "σ")),
        ({"lowercase": True, "strip_accents": None}, "Åé", "ae"),
        ({"lowercase": False, "strip_accents": None}, "Åé", "Åé"),
    ],
)
def test_each_step_is_as_worked_out_by_hand(flags, text, expected):
    assert normalize(text, **flags) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\u3000", []),
        ("don't stop!", ["don", "'", "t", "stop", "!"]),
        ("$5^2=~`|", ["$", "5", "^", "2", "=", "~", "`", "|"]),
        ("a—b…«c»、d", ["a", "—", "b", "…", "«", "c", "»", "、", "d"]),
        ("a\x1cb€+", ["a\x1cb€", "+"]),
    ],
)
def test_words_end_at_spaces_and_around_punctuation(text, words):
    assert bert_words(text, True) == words


def test_lowering_and_stripping_alone():
    assert lowercase("ΑΣ É") == "ασ é"
    assert strip_accents("e\u0301\u0903É") == "eÉ"


@pytest.mark.parametrize("values", [*itertools.product([True, False], [True, False], [True, None])])
def test_characters_and_texts_are_treated_as_in_the_library(values):
    """Of all characters some 500 for each choice of the flags."""
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    flags = dict(zip(NAMES, (*values, values[0])))
    theirs = library.normalizers.BertNormalizer(**flags)
    words = library.pre_tokenizers.BertPreTokenizer()
    choices = random.Random(repr(values))
    every = map(chr, range(choices.randrange(499), 0x110000, 499))
    assigned = [c for c in every if unicodedata.category(c) not in ("Cn", "Cs")]
    special = " \t.'!É世\u0301\u0327\ufffd\0ΣİＡ\xad"
    texts = [f"a{character}b" for character in assigned]
    texts += ["".join(choices.choices(special + "ab", k=12)) for _ in range(100)]
    texts += ["".join(choices.choices(assigned, k=12)) for _ in range(50)]
    for text in texts:
        mine = bert_normalizer(**flags)(text)
        assert mine == theirs.normalize_str(text), ascii(text)
        assert bert_words(mine, True) == [word for word, _ in words.pre_tokenize_str(mine)]
