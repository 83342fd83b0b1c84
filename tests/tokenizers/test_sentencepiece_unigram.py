"""A Unigram spiece.model encodes and decodes as the sentencepiece library does."""

import io
import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import data
from tiny_unigram import (
    ALPHABET,
    PIECES,
    ROUNDED_PIECES,
    RULES,
    SCARCE_CUTS,
    SCARCE_PIECES,
    WITH_BYTES,
    character_map_bytes,
    unigram_bytes,
)
from tiny_vocabulary import (
    CONTROL,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    added_token,
    sentencepiece_bytes,
    write_json,
)
from tiny_vocabulary import PIECES as BPE_PIECES
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer

texts = st.text(ALPHABET, max_size=30) | st.text(max_size=10)


def load(folder, content, name="spiece.model", **config):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    if config:
        write_json(folder / "tokenizer_config.json", config)
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(tmp_path_factory.mktemp("tiny"), unigram_bytes())


def names(ids, pieces=PIECES):
    return [pieces[i][0] for i in ids]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("   ", []),
        ("\x01", []),
        ("the", ["▁the"]),
        (" the\tthe\u3000", ["▁the", "▁the"]),
        ("ab", ["▁", "ab"]),
        ("Ａbc", ["▁", "abc"]),
        ("x漢字the", ["▁", "<unk>", "the"]),
        ("▁▁a", ["▁", "▁", "▁", "a"]),
        ("½", ["▁", "<unk>", "▁", "<unk>"]),
        ("</s>", ["▁", "<unk>"]),
    ],
)
def test_pieces_are_those_worked_out_by_hand(tiny, text, pieces):
    assert names(tiny.encode(text)) == pieces


@pytest.mark.parametrize("text", SCARCE_CUTS)
def test_an_unknown_character_scores_10_less_than_the_worst_piece(tmp_path, text):
    tokenizer = load(tmp_path, unigram_bytes(SCARCE_PIECES))
    assert names(tokenizer.encode(text), SCARCE_PIECES) == SCARCE_CUTS[text]


def test_sums_are_rounded_to_float32(tmp_path):
    tokenizer = load(tmp_path, unigram_bytes(ROUNDED_PIECES, normalizer={3: 0}))
    assert names(tokenizer.encode("abc"), ROUNDED_PIECES) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("scores", "user", "pieces"),
    [
        ({"a": -0.04, "b": -0.04}, "ab", ["a", "b"]),
        ({"a": -0.06, "b": -0.06}, "ab", ["ab"]),
        ({"é": 1.0}, "éé", ["éé"]),
        ({"é": 1.0, "a": 2.1}, "aé", ["aé"]),
    ],
)
def test_a_user_defined_piece_scores_the_best_for_each_byte_less_a_tenth(
    tmp_path, scores, user, pieces
):
    own = [*PIECES[:3], *((p, s, NORMAL) for p, s in scores.items()), (user, 0.0, USER_DEFINED)]
    tokenizer = load(tmp_path, unigram_bytes(own, normalizer={3: 0}))
    assert names(tokenizer.encode(user), own) == pieces


def test_the_longest_user_defined_piece_stays_as_it_is(tmp_path):
    own = [*PIECES, ("ﬁ", 0.0, USER_DEFINED), ("ﬁＡ", 0.0, USER_DEFINED)]
    tokenizer = load(tmp_path, unigram_bytes(own))
    assert names(tokenizer.encode("ﬁＡﬁＡ")[1:], own) == ["ﬁＡ", "ﬁＡ"]
    assert names(tokenizer.encode("ﬁaＡ")[1:], own) == ["ﬁ", "a", "a"]


def test_roles_are_t5s(tiny):
    assert (tiny.bos_id, tiny.eos_id, tiny.unk_id, tiny.pad_id) == (None, 1, 2, 0)
    assert (tiny.add_bos, tiny.add_eos) == (False, True)


@given(texts)
def test_no_special_token_but_the_unknown_comes_out_of_text(tiny, text):
    assert not {0, 1} & set(tiny.encode(text))


VARIANTS = {
    "T5's": (PIECES, {}),
    "no rules": (PIECES, {2: b""}),
    "with bytes": (WITH_BYTES, {}),
    "spaces kept": (PIECES, {4: 0}),
    "no dummy prefix": (PIECES, {3: 0}),
    "spaces not escaped": (PIECES, {5: 0}),
    "neither": (WITH_BYTES, {3: 0, 4: 0}),
    "user-defined": (
        [*PIECES, *((p, 0.0, USER_DEFINED) for p in ("<b>", "Ａ", "bi", "h ", "  x", "▁th"))],
        {},
    ),
    "unused": ([(p, s, UNUSED if p in ("the", "a", "▁") else k) for p, s, k in PIECES], {}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_ids_and_texts_are_the_librarys(tmp_path, variant):
    pieces, normalizer = VARIANTS[variant]
    compare(tmp_path, unigram_bytes(pieces, normalizer=normalizer), 300)


def compare(folder, content, n, *more):
    """Give a tokenizer that encodes and decodes random texts as the library does."""
    tokenizer = load(folder, content)
    library = pytest.importorskip("sentencepiece")
    processor = library.SentencePieceProcessor(model_proto=content)
    choices = random.Random(0)
    parts = [*ALPHABET, *RULES, "  ", "the", "<b>", "h ", "  x", *more]
    for _ in range(n):
        text = "".join(choices.choices(parts, k=choices.randrange(25)))
        ids = tokenizer.encode(text)
        assert ids == processor.encode(text), ascii(text)
        if tokenizer.unk_id not in ids and not tokenizer.decode(ids).startswith(" "):
            assert tokenizer.decode(ids) == processor.decode(ids), ascii(text)
    return tokenizer


TRAINED = {
    "nmt_nfkc": {},
    "identity": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "nfkc_cf": {"normalization_rule_name": "nfkc_cf", "byte_fallback": True, "vocab_size": 340},
    "user-defined": {"user_defined_symbols": ["<b>", "ﬁ", "th"]},
    "BPE": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 340},
}


@pytest.mark.parametrize("kind", TRAINED)
def test_ids_of_trained_vocabularies_are_the_librarys(tmp_path, kind):
    """With the library's own maps of characters, for BPE too."""
    library = pytest.importorskip("sentencepiece")
    lines = ["the quick brown fox jumps over the lazy dog", "Ünïcödé ﬁne １２３ ｶﾞ 한국어 漢字"]
    lines += ["a rabbit, a hare; the theory of the thing", "été naïve cœur, bac abc cab"]
    writer = io.BytesIO()
    usual = {"model_type": "unigram", "vocab_size": 80, "hard_vocab_limit": False}
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 5),
        model_writer=writer,
        minloglevel=2,
        **usual | TRAINED[kind],
    )
    compare(tmp_path, writer.getvalue(), 300, *"ÜｶﾞＡ²１ﾟ각\u1100\u1161\ufdfa", *lines)


def test_a_map_of_characters_serves_bpe_too(tmp_path):
    content = sentencepiece_bytes(BPE_PIECES, normalizer={2: character_map_bytes(), 4: 1})
    tokenizer = load(tmp_path, content, "tokenizer.model")
    assert tokenizer.encode("\tＡb\x01c") == tokenizer.encode("abc")
    tokenizer.save(tmp_path / "saved")
    assert [file.name for file in (tmp_path / "saved").iterdir()] == ["tokenizer.model"]


def test_a_saved_tokenizer_keeps_its_file_alone(tmp_path, tiny):
    """In tokenizer.json sums are rounded otherwise, and characters replaced by another rule."""
    tiny.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["spiece.model"]
    assert load_tokenizer(tmp_path).table == tiny.table


def test_sentinels_follow_the_pieces_the_last_first(tmp_path):
    tokenizer = load(tmp_path, unigram_bytes(), extra_ids=3)
    assert tokenizer.special_tokens["<extra_id_0>"] == len(PIECES) + 2
    assert tokenizer.special_tokens["<extra_id_2>"] == len(PIECES)
    assert tokenizer.encode("the <extra_id_1>ab", allow_special=True) == [
        *[3, len(PIECES) + 1, 4, 12]
    ]
    assert len(PIECES) + 1 not in tokenizer.encode("<extra_id_1>")


@pytest.mark.parametrize("name", ["T5Tokenizer", "T5TokenizerFast"])
def test_t5_has_a_hundred_sentinels_unless_it_says_otherwise(tmp_path, name):
    assert load(tmp_path, unigram_bytes(), tokenizer_class=name).vocab_size == len(PIECES) + 100
    said = {"20": added_token("<extra_id_0>", 20)}
    config = {"tokenizer_class": name, "added_tokens_decoder": said}
    assert load(tmp_path / "said", unigram_bytes(), **config).vocab_size == 21
    none = {"tokenizer_class": name, "extra_ids": 0}
    assert load(tmp_path / "none", unigram_bytes(), **none).vocab_size == len(PIECES)


BAD = {
    "another numbering": ({"tokenizer_class": "PegasusTokenizer"}, "PegasusTokenizer numbers the"),
    "sentinels below none": ({"extra_ids": -1}, "extra_ids is -1; expected an integer from 0 to"),
    "too many sentinels": ({"extra_ids": 10**9}, "extra_ids is 1000000000; expected"),
    "sentinels that are none": ({"extra_ids": True}, "extra_ids is True; expected"),
    "a role that is not there": ({"bos_token": "<s>"}, "bos token '<s>' is not in the vocabulary"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_refused_in_one_line(tmp_path, case):
    config, reason = BAD[case]
    with pytest.raises(TokenizerError, match=reason) as caught:
        load(tmp_path, unigram_bytes(), **config)
    assert "\n" not in str(caught.value)


def test_a_map_of_characters_that_is_damaged_is_refused(tmp_path):
    with pytest.raises(TokenizerError, match=r"the precompiled_charsmap is damaged: its trie"):
        load(tmp_path, unigram_bytes(normalizer={2: character_map_bytes()[:9]}))


def test_missing_bytes_are_refused(tmp_path):
    with pytest.raises(TokenizerError, match="1 are missing, the first is <0xFF>"):
        load(tmp_path, unigram_bytes(WITH_BYTES[:-1]))


def test_a_vocabulary_without_pieces_of_text_knows_nothing(tmp_path):
    pieces = [("<pad>", 0.0, CONTROL), ("<unk>", 0.0, 2), ("x", 0.0, UNUSED)]
    assert load(tmp_path, unigram_bytes(pieces)).encode("ax") == [1]
    assert load(tmp_path, unigram_bytes([*pieces, ("a", -1.0, NORMAL)])).encode("aa") == [1, 3, 3]


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("text", ["a", "the ", "\u0301\u0327", " ", "é", "Ａ", "x\u0301"])
def test_a_hundred_thousand_characters_take_no_minutes(tiny, text):
    start = time.process_time()
    tiny.encode((text * 100_000)[:100_000])
    assert time.process_time() - start < 5


def test_the_pieces_of_the_real_corpus_are_the_librarys(tmp_path):
    library = pytest.importorskip("sentencepiece")
    lines = data("corpora/tinyshakespeare/input.txt").read_text().split("\n")[:300]
    writer = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=writer, vocab_size=200, minloglevel=2
    )
    tokenizer = load(tmp_path, writer.getvalue())
    processor = library.SentencePieceProcessor(model_proto=writer.getvalue())
    for line in [*lines, json.dumps(lines)]:
        assert tokenizer.encode(line) == processor.encode(line)
