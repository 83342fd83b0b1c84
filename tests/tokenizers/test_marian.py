"""Marian's two SentencePiece files cut texts, and vocab.json has the ids."""

import json
import random
import warnings

import pytest

from tiny_unigram import ALPHABET, PIECES, WITH_BYTES, unigram_bytes
from tiny_vocabulary import NORMAL, sentencepiece_bytes, write_json
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import has_tokenizer, load_tokenizer

TARGET = [*PIECES, ("▁le", -1.0, NORMAL), ("l", -5.0, NORMAL)]
VOCAB = ["</s>", "<unk>", ">>fr<<", ">>de<<", "▁le", "▁", "ab", "abc", "▁the", "漢字", "e", "h"]
VOCAB += ["t", "a", "b", "l", "<pad>"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "source.spm").write_bytes(unigram_bytes())
    (tmp_path / "target.spm").write_bytes(unigram_bytes(TARGET))
    write_json(tmp_path / "vocab.json", {piece: i for i, piece in enumerate(VOCAB)})
    return tmp_path


def names(ids):
    return [VOCAB[i] for i in ids]


@pytest.mark.parametrize(
    ("text", "source", "target"),
    [
        ("", [], []),
        ("the le", ["▁the", "▁", "l", "e"], ["▁the", "▁le"]),
        ("ab abc", ["▁", "ab", "▁", "abc"], ["▁", "ab", "▁", "abc"]),
        ("bc", ["▁", "<unk>"], ["▁", "<unk>"]),
        ("漢字", ["▁", "漢字"], ["▁", "漢字"]),
        ("漢", ["▁", "<unk>"], ["▁", "<unk>"]),
        (">>fr<<the", [">>fr<<", "▁the"], [">>fr<<", "▁the"]),
        ("<pad>", ["<pad>"], ["<pad>"]),
    ],
)
def test_each_side_is_cut_by_its_own_file(folder, text, source, target):
    assert names(load_tokenizer(folder).encode(text, allow_special=True)) == source
    side = load_tokenizer(folder / "target.spm")
    assert names(side.encode(text, allow_special=True)) == target


def test_no_special_token_comes_out_of_text(folder):
    tokenizer = load_tokenizer(folder)
    assert set(tokenizer.special_tokens) == {"</s>", "<unk>", "<pad>", ">>fr<<", ">>de<<"}
    for text in tokenizer.special_tokens:
        assert set(tokenizer.encode(f"{text} ab{text}")) & {0, 2, 3, 16} == set()


def test_texts_end_with_eos_and_begin_with_nothing(folder):
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id) == (
        *(None, 0, 1, 16),
    )
    assert (tokenizer.add_bos, tokenizer.add_eos) == (False, True)
    assert tokenizer.decode([2, 8, 5, 7, 0]) == "the abc"


def test_unknown_text_may_fall_back_to_bytes(folder):
    (folder / "source.spm").write_bytes(unigram_bytes(WITH_BYTES))
    write_json(folder / "vocab.json", {"</s>": 0, "<unk>": 1, "▁": 2, "<0xC3>": 3, "<0xA9>": 4})
    assert load_tokenizer(folder).encode("éx") == [2, 3, 4, 1]


def test_a_saved_folder_is_the_same_again(folder, tmp_path):
    write_json(folder / "tokenizer_config.json", {"source_lang": "en"})
    load_tokenizer(folder).save(tmp_path / "saved")
    assert has_tokenizer(tmp_path / "saved")
    for name in ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json"):
        assert (tmp_path / "saved" / name).read_bytes() == (folder / name).read_bytes()
    assert load_tokenizer(tmp_path / "saved").encode("the") == [8]


BAD = {
    "no vocabulary": ("vocab.json", b"[]", "holds a JSON list"),
    "an id twice": ("vocab.json", b'{"<unk>": 0, "a": 0}', "have the same id 0"),
    "no unknown token": ("vocab.json", b'{"a": 0}', "has no unknown token; expected <unk>, or"),
    "a BPE model": ("source.spm", sentencepiece_bytes(), "is a BPE model; of Marian, Unigram is"),
    "a damaged model": ("source.spm", b"\n\xff", "is no SentencePiece model"),
    "two vocabularies": (
        "tokenizer_config.json",
        b'{"separate_vocabs": true}',
        "separate_vocabs is not supported",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_refused_in_one_line(folder, case):
    name, content, reason = BAD[case]
    (folder / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=reason) as caught:
        load_tokenizer(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


def test_a_missing_side_is_said(folder):
    (folder / "target.spm").unlink()
    with pytest.raises(TokenizerError, match=r"target\.spm: no such file"):
        load_tokenizer(folder)


def test_a_file_without_vocab_json_is_a_plain_vocabulary(folder):
    (folder / "vocab.json").unlink()
    assert load_tokenizer(folder / "source.spm").encode("the") == [3]


@pytest.mark.parity
def test_ids_are_those_of_transformers(folder):
    pytest.importorskip("sentencepiece")
    transformers = pytest.importorskip("transformers")
    write_json(folder / "tokenizer_config.json", {"source_lang": "en", "target_lang": "fr"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.MarianTokenizer.from_pretrained(folder)
    source, target = load_tokenizer(folder), load_tokenizer(folder / "target.spm")
    choices = random.Random(0)
    for i in range(300):
        text = "".join(choices.choices([*ALPHABET, "le", "漢字", "the"], k=choices.randrange(15)))
        text = (">>fr<< " if i % 5 == 0 else "") + text.strip()
        options = {"eos": True, "allow_special": True}
        assert source.encode(text, **options) == theirs(text)["input_ids"], json.dumps(text)
        assert target.encode(text, **options) == theirs(text_target=text)["input_ids"]
