"""A vocab.txt makes BERT's tokenizer, and is saved as a tokenizer.json that says the same."""

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import data
from tiny_unigram import BERT_PIECES, vocab_txt
from tiny_vocabulary import added_token, write_json
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import has_tokenizer, load_tokenizer

texts = st.text("theunaffable worldb!'s.n世É\u0301 \t\0[UNK]", max_size=30) | st.text(max_size=10)


def load(folder, content=None, **config):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_bytes(vocab_txt() if content is None else content)
    if config:
        write_json(folder / "tokenizer_config.json", config)
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(tmp_path_factory.mktemp("tiny") / "x")


def names(ids):
    return [BERT_PIECES[i] for i in ids]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("the UNAFFABLE world", ["the", "un", "##aff", "##able", "world"]),
        ("world's", ["world", "'", "s"]),
        ("é!世", ["e", "!", "世"]),
        ("wor worx", ["wor", "[UNK]"]),
        ("[CLS]", ["[UNK]", "[UNK]", "[UNK]"]),
        ("a" * 100, ["a"] + ["##a"] * 99),
        ("a" * 101, ["[UNK]"]),
    ],
)
def test_pieces_are_those_worked_out_by_hand(tiny, text, pieces):
    assert names(tiny.encode(text)) == pieces


def test_cls_and_sep_are_bos_and_eos(tiny):
    assert (tiny.bos_id, tiny.eos_id, tiny.unk_id, tiny.pad_id) == (2, 3, 1, 0)
    assert tiny.add_bos
    assert tiny.add_eos
    assert tiny.encode("the", bos=True, eos=True) == [2, 5, 3]
    assert set(tiny.special_tokens) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert tiny.encode("[MASK]", allow_special=True) == [4]


@given(texts)
def test_no_special_token_but_the_unknown_comes_out_of_text(tiny, text):
    ids = tiny.encode(text)
    assert not {0, 2, 3, 4} & set(ids)
    assert max(ids, default=0) < tiny.vocab_size == len(BERT_PIECES)


def test_decoding_joins_pieces_and_cleans_up(tiny):
    ids = [BERT_PIECES.index(p) for p in ["the", "un", "##aff", "[SEP]", "world", "'s", "!", "n't"]]
    assert tiny.decode(ids) == "the unaff world's!n't"
    assert tiny.decode(ids[2:]) == "##aff world's!n't"
    assert tiny.decode([3, ids[4]]) == "world"
    stream = tiny.stream(at_start=False)
    assert [stream.push(i) for i in ids[:3]] == [" the", " un", "aff"]


@given(st.lists(st.integers(0, len(BERT_PIECES) - 1)))
def test_a_stream_of_ids_joins_to_the_decoded_text(tiny, ids):
    stream = tiny.stream()
    assert "".join(map(stream.push, ids)) + stream.flush() == tiny.decode(ids)


@pytest.mark.parametrize(
    ("config", "text", "pieces"),
    [
        ({"do_lower_case": False}, "The É é a", ["[UNK]", "[UNK]", "é", "a"]),
        ({"strip_accents": False}, "É", ["é"]),
        ({"do_lower_case": False, "strip_accents": True}, "é", ["e"]),
        ({"do_lower_case": False, "strip_accents": None}, "é", ["é"]),
        ({"tokenize_chinese_chars": False}, "世世", ["[UNK]"]),
        ({"do_basic_tokenize": True}, "世世", ["世", "世"]),
    ],
)
def test_the_folder_says_how_texts_are_normalized(tmp_path, config, text, pieces):
    tokenizer = load(tmp_path, **config)
    assert names(tokenizer.encode(text)) == pieces
    tokenizer.save(tmp_path / "saved")
    assert names(load_tokenizer(tmp_path / "saved").encode(text)) == pieces


def test_the_folder_says_which_tokens_are_special(tmp_path):
    roles = {"cls_token": "the", "sep_token": {"content": "world"}, "mask_token": None}
    tokenizer = load(tmp_path, pad_token="[PAD]", **roles)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (5, 14)
    assert "[MASK]" not in tokenizer.special_tokens
    config = {"added_tokens_decoder": {"30": added_token("[NEW]", 30)}}
    assert load(tmp_path / "other", **config).encode("[NEW]", allow_special=True) == [30]


def test_a_vocabulary_without_cls_and_sep_frames_nothing(tmp_path):
    tokenizer = load(tmp_path, b"[UNK]\nthe\n")
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (None, None, None)
    assert not tokenizer.add_bos
    assert not tokenizer.add_eos
    tokenizer.save(tmp_path / "saved")
    file = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())
    assert file["post_processor"] is None


def test_lines_may_end_in_carriage_returns_and_the_last_in_nothing(tmp_path):
    content = vocab_txt().replace(b"\n", b"\r\n")
    assert load(tmp_path, content).vocab_size == len(BERT_PIECES)
    assert load(tmp_path, vocab_txt()[:-1]).vocab_size == len(BERT_PIECES)


def test_a_saved_tokenizer_is_the_same_again(tmp_path, tiny):
    assert not has_tokenizer(tmp_path)
    tiny.save(tmp_path)
    assert has_tokenizer(tmp_path)
    assert (tmp_path / "vocab.txt").read_bytes() == vocab_txt()
    again = load_tokenizer(tmp_path)
    for role in ("bos_id", "eos_id", "unk_id", "pad_id", "add_bos", "add_eos", "special_tokens"):
        assert getattr(again, role) == getattr(tiny, role), role
    assert (again.table, again.first_table) == (tiny.table, tiny.first_table)
    again.save(tmp_path)
    (tmp_path / "spiece.model").touch()
    with pytest.raises(TokenizerError, match=r"another tokenizer's spiece\.model"):
        tiny.save(tmp_path)


BAD = {
    "no unknown token": (b"a\nb\n", {}, "has no unknown token; expected .UNK., or what"),
    "another unknown token": (None, {"unk_token": "<unk>"}, "has no unknown token"),
    "a duplicate": (b"[UNK]\na\na\n", {}, "lines 2 and 3 are both 'a'"),
    "an empty line": (b"[UNK]\n\na\n", {}, "line 2 is empty"),
    "an empty file": (b"", {}, "line 1 is empty"),
    "no text": (b"[UNK]\n\xff\n", {}, "not UTF-8 at byte 6"),
    "a flag that is no boolean": (None, {"do_lower_case": "yes"}, "do_lower_case is 'yes'"),
    "an accent that is none": (None, {"strip_accents": 0}, "strip_accents is 0"),
    "no basic tokenizer": (None, {"do_basic_tokenize": False}, "do_basic_tokenize = false is not"),
    "a name that is none": (None, {"cls_token": 5}, "cls_token is '5'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, case):
    content, config, reason = BAD[case]
    with pytest.raises(TokenizerError, match=reason) as caught:
        load(tmp_path, content, **config)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_too_many_lines_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tinyllm.tokenizers.bert_vocabulary.MAX_IDS", 20)
    with pytest.raises(TokenizerError, match="has 24 pieces; 20 is the most"):
        load(tmp_path)


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("text", ["a", "the ", "\u0301\u0327", " ", "É", "世", ".", "a" * 99 + " "])
def test_a_hundred_thousand_characters_take_no_minutes(tiny, text):
    start = time.process_time()
    tiny.encode((text * 100_000)[:100_000])
    assert time.process_time() - start < 4


@pytest.mark.parametrize("lower", [True, False])
def test_ids_and_texts_of_the_real_vocabulary_are_the_librarys(tmp_path, lower):
    path = data("tokenizers/bert-base-uncased/vocab.txt")
    pytest.importorskip("tokenizers.models")
    from tokenizers.implementations import BertWordPieceTokenizer

    from tokenizers import Tokenizer

    theirs = BertWordPieceTokenizer(str(path), lowercase=lower)
    tokenizer = load(tmp_path, path.read_bytes(), do_lower_case=lower)
    tokenizer.save(tmp_path / "saved")
    saved = Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    pieces = path.read_text("utf-8").split("\n")[:-1]
    choices = random.Random(lower)
    for i in range(300):
        parts = pieces if i % 2 else [*"abc .'!\t\0Éé世\u0301ΣｶＡ", "##s", "[SEP]", "n't", "  "]
        text = (" " * (i % 3)).join(choices.choices(parts, k=choices.randrange(20)))
        ids = tokenizer.encode(text, bos=True, eos=True, allow_special=True)
        assert ids == theirs.encode(text).ids == saved.encode(text).ids, text
        ids = choices.sample(ids, len(ids))
        assert tokenizer.decode(ids) == theirs.decode(ids) == saved.decode(ids), text
