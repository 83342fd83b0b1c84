"""A tokenizer.json with Unigram is read as the tokenizers library reads it, or refused by name."""

import base64
import random
import time
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_unigram import (
    ALPHABET,
    PIECES,
    ROUNDED_PIECES,
    SCARCE_CUTS,
    SCARCE_PIECES,
    WITH_BYTES,
    character_map_bytes,
    unigram_dict,
)
from tiny_vocabulary import DECODER, added_token, metaspace, write_json
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer

CHARMAP = base64.b64encode(character_map_bytes()).decode()
PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": CHARMAP}
SPACES = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
RIGHT = {"type": "Strip", "strip_left": False, "strip_right": True}


def sequence(key, *steps):
    return {"type": "Sequence", key: [*steps]}


def eos_behind(*before):
    text = [*before, {"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "type": "TemplateProcessing",
        "single": [*text, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [*text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
    }


T5 = {
    "normalizer": sequence("normalizers", PRECOMPILED, RIGHT, SPACES),
    "pre_tokenizer": sequence(
        "pretokenizers", {"type": "WhitespaceSplit"}, metaspace("always", True)
    ),
    "post_processor": eos_behind(),
}


def load(folder, pieces=PIECES, **parts):
    return load_tokenizer(write_json(folder / "tokenizer.json", unigram_dict(pieces, **parts)))


def names(ids, pieces=PIECES):
    return [pieces[i][0] for i in ids]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(tmp_path_factory.mktemp("tiny"), **T5)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" \t", []),
        ("the  Ａbc", ["▁the", "▁", "abc"]),
        ("x漢字the", ["▁", "<unk>", "the"]),
        ("ª\u0301b", ["▁", "ab"]),
        ("</s>", ["▁", "<unk>"]),
    ],
)
def test_pieces_are_those_worked_out_by_hand(tiny, text, pieces):
    assert names(tiny.encode(text)) == pieces


@pytest.mark.parametrize("text", SCARCE_CUTS)
def test_an_unknown_character_scores_10_less_than_the_worst_piece(tmp_path, text):
    tokenizer = load(tmp_path, SCARCE_PIECES, pre_tokenizer=metaspace("always", False))
    assert names(tokenizer.encode(text), SCARCE_PIECES) == SCARCE_CUTS[text]


def test_sums_are_in_float64(tmp_path):
    tokenizer = load(tmp_path, ROUNDED_PIECES, pre_tokenizer=metaspace("never", False))
    assert names(tokenizer.encode("abc"), ROUNDED_PIECES) == ["abc"]


def test_roles_come_from_the_file(tiny):
    assert (tiny.bos_id, tiny.eos_id, tiny.unk_id, tiny.pad_id) == (None, 1, 2, 0)
    assert (tiny.add_bos, tiny.add_eos) == (False, True)
    assert tiny.encode("the", eos=True) == [3, 1]


@given(st.text(ALPHABET, max_size=30) | st.text(max_size=10))
def test_no_special_token_but_the_unknown_comes_out_of_text(tiny, text):
    assert not {0, 1} & set(tiny.encode(text))


def test_decoding_writes_spaces_and_none_at_the_start(tiny, tmp_path):
    ids = [PIECES.index(piece) for piece in PIECES if piece[0] in ("▁the", "ab", "▁t")]
    assert tiny.decode(ids) == "the tab"
    assert tiny.stream(at_start=False).push(ids[0]) == " the"
    assert load(tmp_path, decoder=metaspace("never", True)).decode(ids) == " the tab"
    kept = sequence("decoders", *DECODER["decoders"][:3])
    assert load(tmp_path, decoder=kept).decode(ids) == " the tab"


def test_text_may_fall_back_to_bytes_which_do_not_come_out_of_their_names(tmp_path):
    tokenizer = load(tmp_path, WITH_BYTES, model={"byte_fallback": True}, decoder=DECODER)
    pieces = names(tokenizer.encode("é<0x0A>"), WITH_BYTES)
    assert pieces[:4] == ["▁", "<0xC3>", "<0xA9>", "<0x3C>"]
    assert "<0x0A>" not in pieces
    assert tokenizer.decode(tokenizer.encode("é<0x0A>")) == "é<0x0A>"


ALBERT = [
    {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
    {"type": "NFKD"},
    {"type": "StripAccents"},
    {"type": "Lowercase"},
    PRECOMPILED,
]
STYLES = {
    "T5": T5,
    "T5 without legacy": T5 | {"pre_tokenizer": metaspace("first", True)},
    "XLM-R": {"normalizer": PRECOMPILED},
    "ALBERT": {"normalizer": sequence("normalizers", *ALBERT)},
    "stripped": {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": False}},
    "another mark": {
        "pre_tokenizer": metaspace("always", True) | {"replacement": "h"},
        "decoder": metaspace("always", True) | {"replacement": "h"},
    },
    "with bytes": {
        "model": {"byte_fallback": True},
        "pre_tokenizer": metaspace("never", False),
        "decoder": DECODER,
    },
}


@pytest.mark.parametrize("style", STYLES)
def test_ids_and_texts_are_the_librarys(tmp_path, style):
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    pieces = WITH_BYTES if style == "with bytes" else PIECES
    tokenizer = load(tmp_path, pieces, **STYLES[style])
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    choices = random.Random(0)
    parts = [*ALPHABET, "  ", "the", "</s>", "ABC", "`"]
    for _ in range(300):
        text = "".join(choices.choices(parts, k=choices.randrange(25)))
        ids = tokenizer.encode(text, eos=tokenizer.add_eos, allow_special=True)
        assert ids == theirs.encode(text).ids, ascii(text)
        assert tokenizer.decode(ids) == theirs.decode(ids), ascii(text)


def vocab(*entries):
    return {"model": {"vocab": [["a", -1.0], *entries]}}


BAD = {
    "a vocabulary by name": ({"model": {"vocab": {"a": 1}}}, "'vocab' is no list"),
    "no vocabulary": ({"model": {"vocab": []}}, "'vocab' is no list"),
    "a piece without score": (vocab(["b"]), "piece 1 is .*; expected a text and its score"),
    "an empty piece": (vocab(["", 0.0]), "piece 1 is .*; expected a text and its score"),
    "a score that is a boolean": (vocab(["b", True]), "piece 1 is .*; expected a text and"),
    "a score that is text": (vocab(["b", "1"]), "piece 1 is .*; expected a text and its score"),
    "an endless score": (vocab(["b", -(10**400)]), "the score of 'b' is -1000"),
    "a piece twice": (vocab(["b", 0], ["b", 1]), "the piece 'b' is in 'vocab' twice"),
    "no unknown token": ({"model": {"unk_id": None}}, "unk_id is None; expected the place"),
    "an unknown token outside": ({"model": {"unk_id": 18}}, "unk_id is 18; expected the place"),
    "an unknown token below": ({"model": {"unk_id": -1}}, "unk_id is -1; expected the place"),
    "a fallback that is none": ({"model": {"byte_fallback": 1}}, "byte_fallback is 1; expected"),
    "no bytes": ({"model": {"byte_fallback": True}}, "256 are missing, the first is <0x00>"),
    "an unknown key": ({"model": {"alpha": 0.1}}, "'alpha' = 0.1 is not supported"),
    "another decoder": ({"decoder": {"type": "ByteLevel"}}, "the decoder .* is not supported"),
    "no decoder": ({"decoder": None}, "the decoder None is not supported"),
    "other steps": ({"decoder": sequence("decoders", {"type": "Fuse"})}, "the decoder .*Fuse"),
    "a map that is damaged": (
        {"normalizer": PRECOMPILED | {"precompiled_charsmap": "AAAA"}},
        "the precompiled_charsmap is damaged",
    ),
    "a map that is no text": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": None}},
        "the normalizer .*Precompiled.* is not supported",
    ),
    "a token that is not there": (
        {"added_tokens": [added_token("<s>", 3)]},
        "the added token '<s>'|belongs to",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, case):
    parts, reason = BAD[case]
    with pytest.raises(TokenizerError, match=reason) as caught:
        load(tmp_path, **parts)
    assert str(caught.value).startswith(f"{tmp_path}")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("text", ["a", "the ", "\u0301\u0327", " ", "é", "ª\u0301", "\r\n"])
def test_a_hundred_thousand_characters_take_no_minutes(tiny, text):
    start = time.process_time()
    tiny.encode((text * 100_000)[:100_000])
    assert time.process_time() - start < 5
