"""A tokenizer.json is read as the tokenizers library reads it, or refused by name."""

import json
import random
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_vocabulary import (
    ALPHABET,
    DECODER,
    HEAD,
    LEGACY_NORMALIZER,
    PIECES,
    TEMPLATE,
    added_token,
    id_of,
    metaspace,
    sentencepiece_bytes,
    tokenizer_dict,
    write_json,
)
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer

VOCAB = {piece: i for i, (piece, _, _) in enumerate(PIECES)}


def load(folder, **parts):
    return load_tokenizer(write_json(folder / "tokenizer.json", tokenizer_dict(**parts)))


def model(**entries):
    return {"model": entries}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(tmp_path_factory.mktemp("tiny"))


@given(st.text(ALPHABET, max_size=30) | st.text(max_size=10))
def test_decoding_undoes_encoding_and_no_special_token_comes_out_of_text(tiny, text):
    ids = tiny.encode(text, bos=True)
    assert ids[0] == 1
    assert not {0, 1, 2} & set(ids[1:])
    assert tiny.decode(ids) == text.replace("▁", " ")


@given(st.text(ALPHABET, max_size=30))
def test_ids_are_those_of_the_same_vocabulary_with_scores(tmp_path_factory, tiny, text):
    path = tmp_path_factory.getbasetemp() / "same.model"
    path.write_bytes(sentencepiece_bytes())
    assert tiny.encode(text) == load_tokenizer(path).encode(text)


def test_roles_and_bos_come_from_the_file(tiny, tmp_path):
    assert (tiny.bos_id, tiny.eos_id, tiny.unk_id, tiny.pad_id) == (1, 2, 0, None)
    assert tiny.add_bos
    assert not load(tmp_path, post_processor=None).add_bos
    only_text = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}]}
    assert not load(tmp_path, post_processor=only_text).add_bos
    bare = load(tmp_path, added_tokens=[], post_processor=None, model={"unk_token": None})
    assert (bare.bos_id, bare.eos_id, bare.unk_id, bare.special_tokens) == (None, None, None, {})


def test_merges_may_be_written_as_text(tmp_path, tiny):
    merges = [" ".join(pair) for pair in tokenizer_dict()["model"]["merges"]]
    assert load(tmp_path, model={"merges": merges}).encode("the aab") == tiny.encode("the aab")


def test_merges_that_spell_a_special_or_a_byte_token_do_not_make_it(tmp_path):
    """Otherwise a text with the literal <s> would hold BOS."""
    spelling = ["<0x0A", "0x0A", "0", "x", "A", "0x", "0x0"]
    vocab = VOCAB | {piece: 300 + i for i, piece in enumerate(spelling)}
    merges = [["<s", ">"], ["0", "x"], ["0x", "0"], ["0x0", "A"], ["<", "0x0A"], ["<0x0A", ">"]]
    tokenizer = load(
        tmp_path, model={"vocab": vocab, "merges": [["<", "s"], *merges]}, normalizer=None
    )
    assert tokenizer.encode("<s>") == [VOCAB["<s"], VOCAB[">"]]
    assert tokenizer.encode("<0x0A>") == [300, VOCAB[">"]]
    assert tokenizer.decode(tokenizer.encode("<0x0A>")) == "<0x0A>"


def test_added_tokens_that_are_text_are_always_found(tmp_path):
    added = [
        added_token("<s>", 1),
        added_token("[A]", 400, special=False),
        added_token("[A][A]", 401, special=False),
        added_token("rs", 402, special=False, normalized=True),
    ]
    tokenizer = load(tmp_path, added_tokens=added)
    the = id_of("▁the")
    assert tokenizer.encode("the[A]the[A][A]") == [the, 400, the, 401]
    assert tokenizer.encode("<s>[A]", allow_special=True) == [1, 400]
    assert tokenizer.decode([400, 401]) == "[A][A][A]"
    assert tokenizer.vocab_size == 403
    assert tokenizer.encode("rs rs") == [402, 402]  # ▁rs: it is normalized as the text is


def test_the_decoder_may_keep_the_space(tmp_path):
    kept = {"type": "Sequence", "decoders": DECODER["decoders"][:3]}
    tokenizer = load(tmp_path, decoder=kept)
    assert tokenizer.decode(tokenizer.encode("a")) == " a"


def test_old_files_say_add_prefix_space(tmp_path):
    for flag, text in [(True, "▁a"), (False, "a")]:
        old = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": flag, "split": False}
        assert load(tmp_path, normalizer=None, pre_tokenizer=old).encode("a") == [id_of(text)]


SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
STYLES = {
    "legacy": {"normalizer": LEGACY_NORMALIZER},
    "no dummy prefix": {"normalizer": SPACES},
    "strict spaces": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Replace", "pattern": {"Regex": r"\A +"}, "content": ""},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
                {"type": "Prepend", "prepend": "▁"},
                SPACES,
                {"type": "Replace", "pattern": {"Regex": r"(?<!▁)▁+\z"}, "content": ""},
            ],
        }
    },
    **{
        f"Metaspace {scheme}, {'split' if split else 'whole'}": {
            "normalizer": None,
            "pre_tokenizer": metaspace(scheme, split),
        }
        for scheme in ("always", "first", "never")
        for split in (True, False)
    },
}


@pytest.mark.parametrize("style", STYLES)
def test_ids_are_those_of_the_tokenizers_library(tmp_path, style):
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    added = [added_token(piece, i) for i, (piece, _, _) in enumerate(HEAD)]
    added += [added_token("[A]", 291, special=False), added_token("[A]b", 292, special=False)]
    added += [added_token("rs", 293, special=False, normalized=True)]
    tokenizer = load(tmp_path, added_tokens=added, **STYLES[style])
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    choices = random.Random(0)
    parts = [*ALPHABET, "  ", "the", "<s>", "[A]", "[A]b", "rs", " rs"]
    for _ in range(400):
        text = "".join(choices.choices(parts, k=choices.randrange(25)))
        ids = tokenizer.encode(text, bos=True, allow_special=True)
        assert ids == theirs.encode(text).ids, text
        assert tokenizer.decode(ids) == theirs.decode(ids), text


NOT_FINITE = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}
BAD = {
    "no model": ({"model": None}, "has no 'model' object"),
    "a merge with a piece not in the vocabulary": (
        model(merges=[["t", "zz"]]),
        "merge 0 needs the piece 'zz'",
    ),
    "a merge whose result is not in the vocabulary": (
        model(merges=[["t", "h"], ["a", "n"]]),
        "merge 0 needs the piece 'th'",
    ),
    "a merge of three pieces": (model(merges=["t h e"]), "merge 0 is 't h e'; expected two"),
    "a merge of one piece": (model(merges=[["the"]]), "expected two pieces"),
    "a merge of numbers": (model(merges=[[1, 2]]), "expected two pieces"),
    "a merge of bytes": (
        model(vocab=VOCAB | {"<0x00><0x01>": 400}, merges=[["<0x00>", "<0x01>"]]),
        "joins a byte piece",
    ),
    "a merge twice": (model(merges=[["a", "a"], ["a", "a"]]), "merges 0 and 1 are the same"),
    "merges of another kind": (model(merges={"a": "b"}), "'merges' is no list"),
    "no merges": (model(merges=None), "'merges' is no list"),
    "a vocabulary of another kind": (model(vocab=["a"]), "'vocab' is no object"),
    "a duplicate id": (model(vocab=VOCAB | {"new": 5}), "'<0x02>' and 'new' have the same id 5"),
    "a negative id": (model(vocab=VOCAB | {"new": -1}), "the id of 'new' is -1"),
    "an id of 2^31": (model(vocab=VOCAB | {"new": 2**31}), "the id of 'new' is 2147483648"),
    "an id of 2^63": (model(vocab=VOCAB | {"new": 2**63}), "the id of 'new' is 92233720"),
    "an id that is a boolean": (model(vocab=VOCAB | {"new": True}), "the id of 'new' is True"),
    "an id that is text": (model(vocab=VOCAB | {"new": "7"}), "the id of 'new' is 7; expected"),
    "an empty piece": (model(vocab=VOCAB | {"": 400}), "the piece with the id 400 is empty"),
    "missing bytes": (
        model(vocab={p: i for p, i in VOCAB.items() if not p.startswith("<0x0")}),
        "16 are missing, the first is <0x00>",
    ),
    "bytes that are none": (
        model(vocab={p.replace("<0x41>", "<0xGG>"): i for p, i in VOCAB.items()}),
        "1 are missing, the first is <0x41>",
    ),
    "an unknown model": (model(type="WordLevel"), "type 'WordLevel' is not supported"),
    "a model of no type": (model(type=None), "type 'None' is not supported"),
    "byte-level BPE": (
        model(byte_fallback=False),
        "BPE without byte_fallback needs the pre_tokenizer ByteLevel; the file has None",
    ),
    "dropout": (model(dropout=0.1), "'dropout' = 0.1 is not supported"),
    "ignored merges": (model(ignore_merges=True), "'ignore_merges' = True is not supported"),
    "a subword prefix": (model(continuing_subword_prefix="##"), "= ## is not supported"),
    "an unknown key of the model": (model(new_rule=1), "'new_rule' = 1 is not supported"),
    "an unknown token that is none": (model(unk_token=3), "unk_token is '3'"),
    "an unknown token not in the vocabulary": (
        model(unk_token="[UNK]"),
        r"the unk token '\[UNK\]' is not in the vocabulary",
    ),
    "an unknown normalizer": ({"normalizer": {"type": "Nmt"}}, "Nmt.* not supported"),
    "a normalizer that is text": ({"normalizer": "NFC"}, "the normalizer NFC is not supported"),
    "a foreign regex": ({"normalizer": NOT_FINITE}, r"the normalizer .*\(a\+\)\+\$"),
    "a replacement of nothing": (
        {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}},
        "the normalizer .* is not supported",
    ),
    "an unknown pre_tokenizer": ({"pre_tokenizer": {"type": "ByteLevel"}}, "pre_tokenizer .*Byte"),
    "an unknown scheme": ({"pre_tokenizer": metaspace("last", False)}, "'last'.* is no Metaspace"),
    "an unknown decoder": ({"decoder": {"type": "WordPiece"}}, "the decoder .*WordPiece"),
    "no decoder": ({"decoder": None}, "the decoder None is not supported"),
    "a decoder of other steps": (
        {"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}]}},
        "the decoder .*Fuse.* is not supported",
    ),
    "an unknown post_processor": (
        {"post_processor": {"type": "PairProcessing"}},
        "the post_processor .*PairProcessing.* is not supported",
    ),
    "a BOS not in the vocabulary": (
        {"post_processor": json.loads(json.dumps(TEMPLATE).replace("<s>", "[B]"))},
        r"the bos token '\[B\]' is not in the vocabulary",
    ),
    "added tokens of another kind": ({"added_tokens": {}}, "'added_tokens' is no list"),
    "an added token that is none": ({"added_tokens": ["<s>"]}, "an added token is '<s>'"),
    "an added token without a text": ({"added_tokens": [added_token("", 7)]}, "an added token is"),
    "an added token with another id": (
        {"added_tokens": [added_token("<s>", 2)]},
        "the added token '<s>' has the ids 1 and 2",
    ),
    "an added token with another's id": (
        {"added_tokens": [added_token("[A]", 1)]},
        r"the id 1 belongs to '<s>' and '\[A\]'",
    ),
    "an added token without an id": (
        {"added_tokens": [added_token("[A]", None)]},
        r"the id of '\[A\]' is None",
    ),
    "an added token with a flag that is none": (
        {"added_tokens": [added_token("<s>", 1, special="yes")]},
        "'special' of the added token '<s>' is not a boolean",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, case):
    parts, reason = BAD[case]
    content = tokenizer_dict(**parts) if parts != {"model": None} else {"model": None}
    path = write_json(tmp_path / "tokenizer.json", content)
    with pytest.raises(TokenizerError, match=reason) as caught:
        load_tokenizer(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_hole_in_the_ids_is_an_id_without_meaning(tmp_path):
    tokenizer = load(tmp_path, model={"vocab": VOCAB | {"new": 500}})
    assert tokenizer.vocab_size == 501
    assert tokenizer.decode([500]) == "new"
    with pytest.raises(TokenizerError, match="token id 499 is not in the vocabulary of 292"):
        tokenizer.decode([499])


TEXTS = {
    "not JSON": "{ nothing",
    "duplicate keys": '{"model": {}, "model": {}}',
    "deep nesting": '{"a":' * 100_000,
    "a number that is none": '{"a": NaN}',
}


@pytest.mark.parametrize("case", TEXTS)
def test_bad_json_is_refused_in_one_line(tmp_path, case):
    (tmp_path / "tokenizer.json").write_text(TEXTS[case])
    with pytest.raises(TokenizerError, match=r"tokenizer.json: .*(JSON|nested)"):
        load_tokenizer(tmp_path)
