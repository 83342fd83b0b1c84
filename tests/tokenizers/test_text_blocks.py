"""Reading text in blocks: no word is cut, whatever cuts words; a bad byte is told by its place."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_byte_level import PARTS
from tinyllm.errors import UsageError
from tinyllm.tokenizers import text_blocks as module
from tinyllm.tokenizers.byte_level_pretokenizers import read_byte_level_pretokenizer
from tinyllm.tokenizers.byte_level_training import PRE_TOKENIZERS
from tinyllm.tokenizers.text_blocks import text_blocks

texts = st.lists(st.sampled_from(PARTS), max_size=40).map("".join) | st.text(max_size=20)
CUT = {name: read_byte_level_pretokenizer(name, spec) for name, spec in PRE_TOKENIZERS.items()}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("text") / "text.txt"


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@given(texts, st.integers(1, 9))
def test_the_words_of_the_blocks_are_the_words_of_the_text(file, name, text, size):
    file.write_bytes(text.encode())
    blocks = list(text_blocks(file, size=size))
    assert "".join(blocks) == text
    words = [word for block in blocks for word in CUT[name](block, True)]
    assert words == CUT[name](text, True)


def test_a_block_ends_before_a_space_or_behind_a_line(file):
    file.write_bytes(b"one two\nthree.  four\n\nfive")
    assert list(text_blocks(file, size=5)) == ["one", " two\n", "three.  four\n\nfive"]
    assert list(text_blocks(file)) == ["one two\n", "three.  four\n\nfive"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("content", "at"),
    [(b"ab cd \xff ef", 6), (b"\xe4\xb8", 0), (b"ab \xe4\xb8 x", 3), (b"a b c d\xf0\x9f\x98", 7)],
)
def test_what_is_no_utf8_is_told_at_its_byte(file, size, content, at):
    file.write_bytes(content)
    with pytest.raises(UsageError, match=f"text.txt: is not UTF-8 at byte {at}$"):
        list(text_blocks(file, size=size))


def test_what_is_no_file_of_text_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no such file"):
        list(text_blocks(tmp_path / "none"))
    with pytest.raises(UsageError, match="is a folder"):
        list(text_blocks(tmp_path))
    os.mkfifo(tmp_path / "pipe")  # which nobody writes to
    with pytest.raises(UsageError, match="is not a regular file"):
        list(text_blocks(tmp_path / "pipe"))


def test_an_endless_word_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 50)
    (tmp_path / "a").write_bytes(b"x" * 100)
    with pytest.raises(UsageError, match="60 characters without a space or line break up to byte"):
        list(text_blocks(tmp_path / "a", size=20))


def test_a_file_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(UsageError, match="a: cannot be read: Permission denied"):
        list(text_blocks(tmp_path / "a"))
