"""What every tokenizer promises, whatever its kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_vocabulary import PIECES, sentencepiece_bytes
from tinyllm.errors import TokenizerError, UsageError
from tinyllm.tokenizers import load_tokenizer

ids = st.lists(st.integers(0, len(PIECES) - 1), max_size=30)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tokenizer.model"
    path.write_bytes(sentencepiece_bytes())
    return load_tokenizer(path)


@given(ids)
def test_the_pieces_of_a_stream_join_to_the_decoded_text(tokenizer, tokens):
    stream = tokenizer.stream()
    assert "".join([stream.push(token) for token in tokens]) + stream.flush() == tokenizer.decode(
        tokens
    )


@given(ids)
def test_the_text_is_the_tokens_bytes_but_for_one_space(tokenizer, tokens):
    content = b"".join(tokenizer.token_bytes(token) for token in tokens)
    assert tokenizer.decode(tokens) == content.removeprefix(b" ").decode("utf-8", "replace")


def test_a_continued_text_keeps_its_space(tokenizer):
    (the,) = tokenizer.encode("the")
    assert tokenizer.stream().push(the) == "the"
    assert tokenizer.stream(at_start=False).push(the) == " the"
    assert tokenizer.decode([1, the, 1, the, 2]) == "the the"


@pytest.mark.parametrize("token", [-1, len(PIECES), 2**31, 2**63])
def test_an_id_without_meaning_is_refused(tokenizer, token):
    with pytest.raises(TokenizerError, match=f"token id {token} is not in the vocabulary"):
        tokenizer.decode([3, token])
    with pytest.raises(TokenizerError, match="whose largest id is"):
        tokenizer.stream().push(token)


def test_half_of_a_surrogate_pair_is_refused_with_its_place(tokenizer):
    with pytest.raises(TokenizerError, match=r"lone surrogate, '\\ud83d', at position 2"):
        tokenizer.encode("ab\ud83d")


@pytest.mark.parametrize("text", ["\0", "a\0b", "\u2028", "👩‍👩‍👧", "\U000e0fff", "\ufeff", "\r\n"])
def test_every_other_character_is_kept(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_disk_that_is_full_leaves_no_half_of_a_file(tokenizer, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr("tinyllm.checkpoints.atomic.os.fsync", full)
    with pytest.raises(TokenizerError, match=r"cannot be saved: .*no space"):
        tokenizer.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_text_is_refused(tokenizer):
    for value, kind in ((3, "int"), (b"ab", "bytes"), (None, "NoneType")):
        with pytest.raises(UsageError, match=f"the text is of type {kind}, expected str"):
            tokenizer.encode(value)
