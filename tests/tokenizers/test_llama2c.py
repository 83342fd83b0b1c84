"""llama2.c's tokenizer.bin holds the same vocabulary as the SentencePiece model it came from."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import data
from tiny_unigram import character_map_bytes
from tiny_vocabulary import (
    ALPHABET,
    CONTROL,
    NORMAL,
    PIECES,
    llama2c_bytes,
    sentencepiece_bytes,
    tokenizer_dict,
    write_json,
)
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer, write_llama2c_tokenizer


def load(path, content):
    path.write_bytes(content)
    return load_tokenizer(path)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    binary = load(folder / "tok.bin", llama2c_bytes())
    return binary, load(folder / "tokenizer.model", sentencepiece_bytes())


@given(st.text(ALPHABET) | st.text())
def test_ids_and_text_are_those_of_the_sentencepiece_file(both, text):
    binary, model = both
    assert binary.encode(text, True, True) == model.encode(text, True, True)
    assert binary.decode(binary.encode(text)) == model.decode(model.encode(text))


def test_the_vocabulary_is_the_same(both):
    binary, model = both
    assert binary.table == model.table
    assert binary.special_tokens == model.special_tokens
    assert (binary.bos_id, binary.eos_id, binary.unk_id, binary.pad_id) == (1, 2, 0, None)
    assert binary.add_bos


def test_a_sentencepiece_vocabulary_is_written_as_llama2c_has_it(both, tmp_path):
    for tokenizer in both:
        write_llama2c_tokenizer(tmp_path / "tok.bin", tokenizer)
        assert (tmp_path / "tok.bin").read_bytes() == llama2c_bytes()


REFUSED = {
    "other first ids": [*PIECES[:3], PIECES[-1], *PIECES[3:-1]],
    "a control piece more": [*PIECES, ("[INST]", 0.0, CONTROL)],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_vocabulary_that_the_format_cannot_hold_is_refused(tmp_path, case):
    tokenizer = load(tmp_path / "tokenizer.model", sentencepiece_bytes(REFUSED[case]))
    with pytest.raises(TokenizerError, match="needs the ids 0, 1, 2"):
        write_llama2c_tokenizer(tmp_path / "tok.bin", tokenizer)


@pytest.mark.parametrize("parts", [{"trainer": {3: 1}}, {"normalizer": {2: character_map_bytes()}}])
def test_what_llama2c_would_cut_otherwise_is_refused(tmp_path, parts):
    tokenizer = load(tmp_path / "tokenizer.model", sentencepiece_bytes(**parts))
    with pytest.raises(TokenizerError, match=r"knows BPE, and no map of characters"):
        write_llama2c_tokenizer(tmp_path / "tok.bin", tokenizer)


def test_a_tokenizer_json_needs_a_model_of_its_size_beside_it(tmp_path):
    write_json(tmp_path / "tokenizer.json", tokenizer_dict())
    with pytest.raises(TokenizerError, match=r"scores in .* came from tokenizer.json"):
        write_llama2c_tokenizer(tmp_path / "tok.bin", load_tokenizer(tmp_path))
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes())
    write_llama2c_tokenizer(tmp_path / "other.bin", load_tokenizer(tmp_path))
    assert (tmp_path / "other.bin").read_bytes() == llama2c_bytes()
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes([*PIECES, ("A", 0.0, NORMAL)]))
    with pytest.raises(TokenizerError, match="has 292 pieces, the tokenizer 291"):
        write_llama2c_tokenizer(tmp_path / "tok.bin", load_tokenizer(tmp_path))


def test_a_path_that_cannot_be_written_is_one_line(both, tmp_path):
    with pytest.raises(TokenizerError, match="cannot be written"):
        write_llama2c_tokenizer(tmp_path, both[0])


GOOD = llama2c_bytes()


def record(text, score=0.0, length=None):
    return struct.pack("<fi", score, len(text) if length is None else length) + text


BAD = {
    "cut short": (GOOD[:-1], "piece 290 has"),
    "cut in a number": (GOOD + b"\0\0\0", "unpack_from"),
    "too few pieces": (GOOD[:100], "piece"),
    "only the unknown piece": (GOOD[:17], "it has 1 pieces; expected at least 259"),
    "a negative length": (GOOD + record(b"", length=-1), "piece 291 has -1 bytes"),
    "a huge length": (GOOD + record(b"", length=2**31 - 1), "has 2147483647 bytes of 0"),
    "an empty piece": (GOOD + record(b"") + record(b"A"), "piece 291 has 0 bytes"),
    "a duplicate piece": (GOOD + record(b"A") * 2, "piece 292, 'A', appears twice"),
    "a score that is no number": (GOOD + record(b"A", float("nan")), "has no score"),
    "a piece that is not UTF-8": (GOOD + record(b"\xff"), "can't decode"),
    "another BOS": (GOOD.replace(b"\n<s>\n", b" <s> "), "piece 1 is '▁<s>▁'; expected '<s>'"),
    "a missing byte": (GOOD.replace(b"<0x0A>", b"<0x-1>"), "piece 13 is '<0x-1>'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, case):
    content, reason = BAD[case]
    with pytest.raises(TokenizerError, match=reason) as caught:
        load(tmp_path / "tokenizer.bin", content)
    assert str(caught.value).startswith(f"{tmp_path / 'tokenizer.bin'}: is no llama2.c tokenizer")


def test_the_published_file_of_stories260k_gives_the_models_ids(tmp_path):
    """But for spaces: the model removes extra ones, which the llama2.c file cannot say."""
    binary = load_tokenizer(data("models/stories260K/tok512.bin"))
    model = load_tokenizer(data("models/stories260K/tokenizer.model"))
    choices = random.Random(0)
    for _ in range(1000):
        letters = choices.choices(
            "abcdefghijklmnopqrstuvwxyz   ,.!\n\té世😀", k=choices.randrange(99)
        )
        text = " ".join(part for part in "".join(letters).split(" ") if part)
        assert binary.encode(text) == model.encode(text)
    write_llama2c_tokenizer(tmp_path / "tok.bin", model)
    assert (tmp_path / "tok.bin").read_bytes() == data("models/stories260K/tok512.bin").read_bytes()
