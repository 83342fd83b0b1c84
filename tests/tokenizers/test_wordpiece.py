"""WordPiece takes the longest piece that begins a word, then the longest that continues it."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.wordpiece import (
    check_word_length,
    first_piece_bytes,
    piece_bytes,
    word_encoder,
    wordpiece_encoder,
)

PIECES = ["un", "##aff", "##able", "unaff", "##a", "a", "##bl", "##b", "##l", "##e", "u", "##n"]
IDS = {piece: i for i, piece in enumerate(PIECES)}


@pytest.mark.parametrize(
    ("word", "pieces"),
    [
        ("unaffable", ["unaff", "##able"]),
        ("una", ["un", "##a"]),
        ("unab", ["un", "##a", "##b"]),
        ("abl", ["a", "##bl"]),
        ("aable", ["a", "##able"]),
        ("", []),
    ],
)
def test_pieces_are_those_worked_out_by_hand(word, pieces):
    assert word_encoder(IDS, "##", 99, 100)(word) == [IDS[piece] for piece in pieces]


@pytest.mark.parametrize("word", ["x", "unx", "xun", "bl", "una-", "aaaaaaaaaaa"])
def test_a_word_that_no_pieces_make_up_or_a_long_one_is_unknown_as_a_whole(word):
    assert word_encoder(IDS, "##", 99, 10)(word) == [99]


def test_a_word_as_long_as_allowed_is_split():
    assert word_encoder(IDS, "##", 99, 3)("aaa") == [5, 4, 4]


@given(st.text("unafble", max_size=12))
def test_the_pieces_join_to_the_word(word):
    ids = word_encoder(IDS, "##", 99, 100)(word)
    assert ids == [99] or "".join(PIECES[i].removeprefix("##") for i in ids) == word


def test_what_is_added_is_no_piece():
    assert wordpiece_encoder(IDS, "##", 99, 100)({"unaff", "##able"})("unaffable") == [
        *[0, 1, 4, 6, 9]
    ]


@pytest.mark.untraced
def test_long_words_and_many_words_take_no_minutes():
    encode = word_encoder(IDS, "##", 99, 1000)
    start = time.process_time()
    for _ in range(100):
        assert len(encode("a" * 1000)) == 1000
    assert time.process_time() - start < 3


@pytest.mark.parametrize("value", [0, -1, 1001, 2**70, 1.5, True, None, "100"])
def test_a_length_of_words_is_checked(value):
    with pytest.raises(TokenizerError, match=r"x: max_input_chars_per_word is .* from 1 to 1000"):
        check_word_length(Path("x"), value)
    assert check_word_length(Path("x"), 100) == 100


@pytest.mark.parametrize(
    ("piece", "text", "cleaned", "first"),
    [
        ("the", " the", " the", "the"),
        ("##ing", "ing", "ing", "##ing"),
        (".", " .", ".", "."),
        ("!", " !", "!", "!"),
        ("'s", " 's", "'s", "'s"),
        ("n't", " n't", "n't", "n't"),
        ("do not", " do not", " don't", "do not"),
        ("a ' b", " a ' b", " a'b", "a'b"),
        ("'", " '", " '", "'"),
    ],
)
def test_a_space_stands_before_a_piece_that_begins_a_word(piece, text, cleaned, first):
    assert piece_bytes("##", cleanup=False)(piece).decode() == text
    assert piece_bytes("##", cleanup=True)(piece).decode() == cleaned
    assert first_piece_bytes(cleanup=True)(piece).decode() == first
    assert first_piece_bytes(cleanup=False)(piece).decode() == piece
