"""Byte-level BPE: any text in and out again, by tiktoken and by hand alike, in linear time."""

import random
import time
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import data
from tiny_byte_level import (
    ADDED,
    END,
    FAMILIES,
    MERGES,
    PARTS,
    PIECES,
    USER,
    VOCAB,
    byte_level_dict,
    sequence,
    split,
)
from tiny_vocabulary import added_token, write_json
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer
from tinyllm.tokenizers.byte_level import ALPHABET, piece_bytes, spell, word_encoder
from tinyllm.tokenizers.merging import merge

PAIRS = {tuple(pair.split(" ")): i for i, pair in enumerate(MERGES)}
texts = st.lists(st.sampled_from(PARTS), max_size=25).map("".join) | st.text(max_size=10)


def load(folder, **parts):
    return load_tokenizer(write_json(folder / "tokenizer.json", byte_level_dict(**parts)))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    return request.param, load(folder, pre_tokenizer=FAMILIES[request.param])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(tmp_path_factory.mktemp("tiny"))


@given(st.binary())
def test_a_spelling_is_readable_and_says_the_bytes(content):
    spelled = spell(content)
    assert len(spelled) == len(content)
    assert spelled.isprintable()
    assert " " not in spelled
    assert piece_bytes(spelled) == content


def test_the_alphabet_is_gpt2s():
    assert spell(b" a\n\x00\xad\xff") == "ĠaĊĀŃÿ"
    assert len(set(ALPHABET.values())) == 256


@given(texts)
def test_decoding_undoes_encoding_and_no_special_token_comes_out_of_text(family, text):
    name, tokenizer = family
    ids = tokenizer.encode(text)
    assert not {END, USER} & set(ids)
    in_front = " " if "in front" in name and text and not text.startswith(" ") else ""
    assert tokenizer.decode(ids) == in_front + text


@given(texts)
def test_a_stream_of_tokens_never_shows_half_a_character(tiny, text):
    stream = tiny.stream()
    shown = [stream.push(token) for token in tiny.encode(text)]
    assert "".join(shown) == text
    assert stream.flush() == ""
    assert "\ufffd" not in "".join(shown) or "\ufffd" in text


def naive(word):
    """Algorithm 1 of Sennrich et al. as it is written: join all of the first pair, then the next.

    The merges here stand in the order in which pieces can be made, so one pass is enough.
    """
    parts = list(spell(word.encode()))
    for left, right in PAIRS:
        joined, rest = [], parts
        while rest:
            both = rest[:2] == [left, right]
            joined.append(left + right if both else rest[0])
            rest = rest[2 if both else 1 :]
        parts = joined
    return [VOCAB[part] for part in parts]


@given(texts)
def test_the_words_are_merged_in_the_order_of_the_list(text):
    assert word_encoder(VOCAB, PAIRS, whole_words=False)(text) == (naive(text) if text else [])


@given(texts)
def test_ids_need_not_be_in_the_order_of_merges(text):
    """RoBERTa's are in the order of how often a token is seen."""
    mixed = dict(zip(PIECES, random.Random(0).sample(range(1000), len(PIECES))))
    ids = word_encoder(mixed, PAIRS, whole_words=False)(text)
    assert ids == [mixed[PIECES[id_]] for id_ in (naive(text) if text else [])]


@given(texts)
def test_a_list_that_tiktoken_cannot_follow_is_merged_by_hand(text):
    """Here ĠĠaa is made in two ways, and the second stands elsewhere."""
    pairs = PAIRS | {("Ġ", "Ġaa"): 100, ("aa", "a"): 101, ("ĠĠ", "aa"): 102}
    ids = VOCAB | {"ĠĠaa": 300, "aaa": 301}
    expected = [ids[piece] for piece in merge(spell(text.encode()), lambda *pair: pairs.get(pair))]
    assert word_encoder(ids, pairs, whole_words=False)(text) == expected


def test_whole_words_win_over_merges(tmp_path):
    """Llama-3's ignore_merges: a word that is a token is that token."""
    vocab = VOCAB | {"Ġseen": 400}
    for flag, ids in [(False, [VOCAB[piece] for piece in "Ġseen"]), (True, [400])]:
        tokenizer = load(tmp_path, model={"vocab": vocab, "ignore_merges": flag})
        assert tokenizer.encode(" seen") == ids
        assert tokenizer.encode(" the") == [VOCAB["Ġthe"]]
        assert tokenizer.encode("\ud7ff") == [VOCAB[piece] for piece in spell("\ud7ff".encode())]


def test_a_token_that_is_special_comes_neither_out_of_merges_nor_out_of_whole_words(tmp_path):
    added = [*ADDED, added_token("aaaa", VOCAB["aaaa"])]
    tokenizer = load(tmp_path, added_tokens=added, model={"ignore_merges": True})
    assert tokenizer.encode("aaaa") == [VOCAB["aa"]] * 2
    assert tokenizer.encode("aaaa", allow_special=True) == [VOCAB["aaaa"]]


def test_added_tokens_that_are_text_keep_their_letters(tmp_path):
    """é and ä stand for the bytes E9 and E4 in a piece, but not in an added token."""
    added = [*ADDED, added_token("éä", 500, special=False), added_token("n n", 501, special=False)]
    tokenizer = load(tmp_path, added_tokens=added)
    ids = tokenizer.encode("théän n")
    assert ids == [VOCAB["t"], VOCAB["h"], 500, 501]
    assert tokenizer.decode(ids) == "théän n"


def test_pieces_that_are_not_spelled_in_bytes_come_out_of_no_text(tmp_path):
    """They say what they are, and merges of them join nothing."""
    more = {"世": 400, "界": 401, "世界": 402, "a b": 403}
    merges = [*MERGES, "世 界"]
    tokenizer = load(tmp_path, model={"vocab": VOCAB | more, "merges": merges})
    assert tokenizer.decode([402, 403]) == "世界a b"
    assert not set(more.values()) & set(tokenizer.encode("世界 a b"))
    assert tokenizer.decode(tokenizer.encode("世界 a b")) == "世界 a b"


def test_falcons_words_may_be_half_characters(tmp_path):
    """贾 is è´¾ in the alphabet of bytes, and ¾ a number: nothing joins across it."""
    joined = {"merges": [*MERGES, "è ´", "è´ ¾"], "vocab": VOCAB | {"è´": 400, "è´¾": 401}}
    assert load(tmp_path, model=joined).encode("贾") == [401]
    half = {"merges": [*MERGES, "Â ½"], "vocab": VOCAB | {"Â½": 400}}
    digits = load(tmp_path, model=half, pre_tokenizer=FAMILIES["digits"])
    assert digits.encode("a½") == [VOCAB["a"], 400]  # digits are cut before bytes are written
    falcon = load(tmp_path, model=joined, pre_tokenizer=FAMILIES["falcon"])
    assert falcon.encode("贾") == [400, VOCAB["¾"]]
    assert falcon.decode(falcon.encode("贾 12345 12")) == "贾 12345 12"


def test_a_byte_that_no_text_has_needs_no_piece(tmp_path):
    vocab = {piece: i for piece, i in VOCAB.items() if piece != ALPHABET[0xC0]}
    assert load(tmp_path, model={"vocab": vocab}).encode("é") == [VOCAB["Ã©"]]


HOSTILE = ["a", " ", "\n", "\u0301", " a a", "1", "( ", "'", "\u0301\u0316", "é", "😀"]


@pytest.mark.parametrize("part", HOSTILE, ids=ascii)
def test_a_hundred_thousand_equal_characters_take_no_long_time(tmp_path, part):
    nfc = {"normalizer": {"type": "NFC"}, "pre_tokenizer": FAMILIES["qwen2"]}
    for parts in ({}, nfc):
        tokenizer = load(tmp_path, **parts)
        text = (part * 100_000)[:100_000]
        start = time.process_time()
        tokenizer.encode(text)
        assert time.process_time() - start < 2


LLAMA3 = {
    "type": "Sequence",
    "processors": [
        {"type": "ByteLevel", "trim_offsets": False},
        {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|user|>"}}, {"Sequence": {"id": "A"}}],
        },
    ],
}
# What repositories say in tokenizer_config.json, and the BOS, EOS, padding and add_bos it makes.
PUBLISHED = {
    "GPT-2": ({"model_max_length": 1024}, None, (None, None, None, False)),
    "Qwen": (
        {
            "add_bos_token": False, "add_prefix_space": False, "bos_token": None,
            "eos_token": "<|end|>", "pad_token": "<|user|>", "unk_token": None,
            "errors": "replace", "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer",
        },
        None,
        (None, END, USER, False),
    ),
    "SmolLM2": (
        {"bos_token": "<|user|>", "eos_token": "<|end|>", "unk_token": "<|user|>", "vocab_size": 1},
        None,
        (USER, END, None, False),
    ),
    "Llama-3": (
        {"bos_token": "<|user|>", "eos_token": "<|end|>", "clean_up_tokenization_spaces": True},
        LLAMA3,
        (USER, END, None, True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_configs_of_published_models_tell_the_roles(tmp_path, name):
    config, post_processor, roles = PUBLISHED[name]
    decoder = {
        str(END): added_token("<|end|>", None),
        str(USER): added_token("<|user|>", None),
        "600": added_token("<tool>", None, special=False),
    }
    write_json(tmp_path / "tokenizer_config.json", config | {"added_tokens_decoder": decoder})
    tokenizer = load(tmp_path, post_processor=post_processor)
    found = (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.add_bos)
    assert found == roles
    chat = "<|user|>the<tool><|end|>"
    expected = [USER, VOCAB["t"], VOCAB["he"], 600, END]
    assert tokenizer.encode(chat, allow_special=True) == expected
    assert not {END, USER} & set(tokenizer.encode(chat))
    assert tokenizer.decode(tokenizer.encode(chat)) == chat


def model(**entries):
    return {"model": entries}


LATER = sequence(FAMILIES["gpt2"], FAMILIES["gpt2"])
BAD = {
    "a missing byte": (
        model(vocab={piece: i for piece, i in VOCAB.items() if piece != "("}, merges=[]),
        "1 are missing, the first is '\\(' for the byte 40",
    ),
    "a byte that is special": (
        {"added_tokens": [added_token("a", VOCAB["a"])]},
        "1 are missing, the first is 'a' for the byte 97",
    ),
    "ignore_merges that is none": (model(ignore_merges=1), "ignore_merges is '1'"),
    "dropout": (model(dropout=0.1), "'dropout' = 0.1 is not supported"),
    "a merge of what is not there": (model(merges=["x y"]), "merge 0 needs the piece 'xy'"),
    "another decoder": ({"decoder": {"type": "WordPiece"}}, "the decoder .*WordPiece"),
    "no decoder": ({"decoder": None}, "the decoder None is not supported"),
    "no pre_tokenizer": ({"pre_tokenizer": None}, "needs the pre_tokenizer ByteLevel"),
    "no ByteLevel": (
        {"pre_tokenizer": split(r"\p{N}")},
        r"the pre_tokenizer .*\\\\p\{N\}.* is not supported",
    ),
    "ByteLevel twice": ({"pre_tokenizer": LATER}, "the pre_tokenizer .*ByteLevel.* not supported"),
    "a flag that is none": (
        {"pre_tokenizer": {"type": "ByteLevel", "use_regex": 1}},
        "the pre_tokenizer .*use_regex.* is not supported",
    ),
    "a regex that never ends": (
        {"pre_tokenizer": sequence(split("(a+)+$"), FAMILIES["gpt2"])},
        r"the pre_tokenizer .*\(a\+\)\+\$.* is not supported",
    ),
    "a known regex that removes": (
        {"pre_tokenizer": sequence(split("[0-9][0-9][0-9]") | {"behavior": "Removed"})},
        "the pre_tokenizer .*Removed.* is not supported",
    ),
    "a step that is text": ({"pre_tokenizer": sequence("ByteLevel")}, "pre_tokenizer ByteLevel is"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, case):
    parts, reason = BAD[case]
    with pytest.raises(TokenizerError, match=reason) as caught:
        load(tmp_path, **parts)
    assert str(caught.value).startswith(str(Path(tmp_path, "tokenizer.json: ")))
    assert "\n" not in str(caught.value)


def test_the_published_vectors_of_gpt2_come_out():
    tokenizer = load_tokenizer(data("tokenizers/gpt2/tokenizer.json"))
    stem = "tokenizers/vectors/ggml-vocab-gpt-2.gguf"
    texts = data(f"{stem}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    expected = [
        [int(id_) for id_ in line.split()] for line in data(f"{stem}.out").read_text().split("\n")
    ]
    assert len(expected) == 47  # the last is the empty text
    for text, ids in zip(texts, expected, strict=True):
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids) == text


@given(texts)
def test_gpt_neox_finds_its_runs_of_spaces_behind_nfc(neox, text):
    tokenizer, theirs = neox
    text = text.replace("é", "  e\u0301    ")
    assert tokenizer.encode(text) == theirs.encode(text).ids


@pytest.fixture(scope="module")
def neox():
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    path = data("tokenizers/gpt-neox-20b/tokenizer.json")
    return load_tokenizer(path), library.Tokenizer.from_file(str(path))
