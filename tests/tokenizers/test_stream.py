"""Ids become text piece by piece, and never half a character."""

from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokenizers.stream import DecoderStream


def stream(tokens, first=None):
    decoder = DecoderStream(lambda i: tokens[i], first or {})
    return [decoder.push(i) for i in range(len(tokens))] + [decoder.flush()]


@given(st.text(), st.lists(st.integers(1, 5)))
def test_a_text_cut_between_any_two_bytes_comes_out_whole(text, lengths):
    content = text.encode()
    cuts = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    tokens = [content[a:b] for a, b in zip(cuts, [*cuts[1:], len(content)])]
    pieces = stream(tokens)
    assert "".join(pieces) == text
    assert all(character in text for piece in pieces for character in piece)


@given(st.lists(st.binary(max_size=4)))
def test_the_pieces_of_any_bytes_join_to_their_decoding(tokens):
    assert "".join(stream(tokens)) == b"".join(tokens).decode("utf-8", "replace")


def test_every_cut_of_a_joined_emoji_waits_for_the_whole_character():
    text = "👩‍👩‍👧 é"
    for piece in stream([bytes([byte]) for byte in text.encode()]):
        assert piece in text
        assert "\ufffd" not in piece


def test_an_unfinished_character_is_shown_as_unknown_at_the_end_only():
    assert stream([b"a", "é".encode()[:1]]) == ["a", "", "\ufffd"]
    assert stream([b"a", "é".encode()[:1], b"b"]) == ["a", "", "\ufffdb", ""]


def test_the_first_token_that_says_something_may_say_it_otherwise():
    first = {0: b"never", 1: b" a", 2: b"b"}
    assert stream([b"", b"  a", b" b"], first) == ["", " a", " b", ""]
    assert stream([b"a", b" b"], {1: b"b"}) == ["a", " b", ""]
    assert stream([b" a"]) == [" a", ""]
