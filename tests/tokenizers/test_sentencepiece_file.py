"""A tokenizer.model is read strictly: a right vocabulary, or one line that says what is wrong."""

import contextlib
import random
from pathlib import Path

import pytest

from tiny_vocabulary import BYTE, BYTES, CONTROL, HEAD, NORMAL, PIECES, field, sentencepiece_bytes
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer
from tinyllm.tokenizers.sentencepiece_file import read_sentencepiece

A = ("A", 0.0, NORMAL)


def test_every_part_of_the_file_is_read():
    vocabulary = read_sentencepiece(Path("x"), sentencepiece_bytes([*PIECES, ("z", -0.5, NORMAL)]))
    assert vocabulary.pieces == [name for name, _, _ in PIECES] + ["z"]
    assert vocabulary.scores[-1] == -0.5
    assert [int(kind) for kind in vocabulary.types] == [kind for _, _, kind in PIECES] + [NORMAL]
    assert vocabulary.roles == {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}
    assert vocabulary.add_dummy_prefix
    assert not vocabulary.remove_extra_whitespaces


def test_what_is_not_said_has_the_formats_defaults():
    content = b"".join(field(1, field(1, p) + field(3, k)) for p, _, k in HEAD + BYTES)
    content += field(1, field(1, "a")) + field(2, field(3, 2) + field(35, 1))
    vocabulary = read_sentencepiece(Path("x"), content)
    assert (vocabulary.scores[-1], vocabulary.types[-1]) == (0.0, NORMAL)
    assert vocabulary.add_dummy_prefix
    assert vocabulary.remove_extra_whitespaces
    assert vocabulary.escape_whitespaces


def test_the_pieces_of_the_roles_may_have_other_names():
    pieces = [*PIECES, ("[B]", 0.0, CONTROL), ("[E]", 0.0, CONTROL)]
    vocabulary = read_sentencepiece(
        Path("x"), sentencepiece_bytes(pieces, {46: "[B]", 47: "[E]", 48: "</s>"})
    )
    assert vocabulary.roles == {"unk": "<unk>", "bos": "[B]", "eos": "[E]", "pad": "</s>"}


BAD = {
    "a word model": (sentencepiece_bytes(trainer={3: 3}), "a word model is not supported"),
    "an unknown model type": (sentencepiece_bytes(trainer={3: 9}), "a 9 model is not supported"),
    "no byte fallback": (sentencepiece_bytes(trainer={35: 0}), "BPE without byte_fallback"),
    "spaces as suffixes": (sentencepiece_bytes(trainer={24: 1}), "treat_whitespace_as_suffix"),
    "a character map": (
        sentencepiece_bytes(normalizer={2: b"x"}),
        "precompiled_charsmap is damaged",
    ),
    "a denormalizer": (sentencepiece_bytes(denormalizer={2: b"x"}), "a denormalizer is not"),
    "an empty piece": (sentencepiece_bytes([*PIECES, ("", 0.0, NORMAL)]), "piece 291 is empty"),
    "a duplicate piece": (sentencepiece_bytes([*PIECES, A, A]), "291 and 292 are both 'A'"),
    "an unknown type": (sentencepiece_bytes([*PIECES, ("A", 0.0, 7)]), "the type of 'A' is 7"),
    "a score that is no number": (
        sentencepiece_bytes([*PIECES, ("A", float("nan"), NORMAL)]),
        "the score of 'A' is nan",
    ),
    "a negative byte": (
        sentencepiece_bytes([*PIECES, ("<0x-1>", 0.0, BYTE)]),
        "'<0x-1>' is no",
    ),
    "a byte without number": (
        sentencepiece_bytes([*PIECES, ("<0xGG>", 0.0, BYTE)]),
        "'<0xGG>' is",
    ),
    "a byte over 255": (sentencepiece_bytes([*PIECES, ("<0x100>", 0.0, BYTE)]), "'<0x100>' is no"),
    "a missing byte": (
        sentencepiece_bytes([e for e in PIECES if e[0] != "<0x0A>"]),
        "1 are missing, the first is <0x0A>",
    ),
    "a byte of another type": (
        sentencepiece_bytes([(p, s, NORMAL if p == "<0x0A>" else t) for p, s, t in PIECES]),
        "1 are missing, the first is <0x0A>",
    ),
    "no unknown piece": (sentencepiece_bytes(PIECES[1:]), "0 pieces are of the unknown type"),
    "no pieces": (field(2, field(3, 2) + field(35, 1)), "begins with"),
    "only an empty piece": (field(1, b"") + field(2, field(3, 2) + field(35, 1)), "0 is empty"),
    "cut short": (sentencepiece_bytes()[:-1], "is no SentencePiece model"),
    "cut in a piece": (sentencepiece_bytes()[:25], "is no SentencePiece model"),
    "a piece that is not UTF-8": (field(1, field(1, b"\xff")), "can't decode"),
    "garbage": (b"\n" + bytes(range(256)), "is no SentencePiece model"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, case):
    content, reason = BAD[case]
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=reason) as caught:
        load_tokenizer(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_too_many_pieces_are_refused_while_reading(monkeypatch):
    monkeypatch.setattr("tinyllm.tokenizers.sentencepiece_file.MAX_IDS", 300)
    content = sentencepiece_bytes(PIECES + [(str(i), 0.0, NORMAL) for i in range(20)])
    with pytest.raises(TokenizerError, match="more than 300 pieces"):
        read_sentencepiece(Path("x"), content)


def test_damaged_files_raise_nothing_else(tmp_path):
    path = tmp_path / "tokenizer.model"
    choices = random.Random(0)
    good = sentencepiece_bytes()
    for _ in range(150):
        content = bytearray(good)
        for _ in range(choices.randrange(1, 4)):
            content[choices.randrange(len(good))] = choices.randrange(256)
        path.write_bytes(content)
        with contextlib.suppress(TokenizerError):
            tokenizer = load_tokenizer(path)
            tokenizer.decode(tokenizer.encode("the <s> é"))
