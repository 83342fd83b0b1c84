"""tokenizer.json's normalizers do what they are called."""

from pathlib import Path

import pytest

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.normalizers import read_normalizer

PATH = Path("x")
BERT = {"clean_text": True, "handle_chinese_chars": False, "strip_accents": None, "lowercase": True}


def strip(left, right):
    return {"type": "Strip", "strip_left": left, "strip_right": right}


@pytest.mark.parametrize(
    ("spec", "text", "expected"),
    [
        (None, " É ", " É "),
        ({"type": "Lowercase"}, "ÉΑΣ", "éας".replace("ς", "σ")),
        ({"type": "StripAccents"}, "e\u0301É", "eÉ"),
        ({"type": "NFD"}, "É", "E\u0301"),
        ({"type": "NFKC"}, "ﬁE\u0301", "fiÉ"),
        (strip(True, False), "\u3000\ta \n", "a \n"),
        (strip(False, True), "\u3000\ta \n", "\u3000\ta"),
        (strip(True, True), " a\x1c ", "a\x1c"),
        (strip(False, False), " a ", " a "),
        ({"type": "BertNormalizer"} | BERT, "\x00É 世", "e 世"),
        (
            {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]},
            "É",
            "E",
        ),
    ],
)
def test_texts_are_those_worked_out_by_hand(spec, text, expected):
    assert read_normalizer(PATH, spec)(text) == expected


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "Nmt"},
        {"type": "Strip"},
        strip(1, 0),
        {"type": "BertNormalizer"},
        {"type": "BertNormalizer"} | BERT | {"lowercase": "yes"},
        {"type": "BertNormalizer"} | BERT | {"strip_accents": 1},
        "NFC",
    ],
)
def test_others_are_refused_by_name(spec):
    with pytest.raises(TokenizerError, match=r"^x: the normalizer .* is not supported"):
        read_normalizer(PATH, spec)
