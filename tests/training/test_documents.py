"""tinyllm.training.documents"""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import UsageError
from tinyllm.training import documents
from tinyllm.training.documents import read_text, split_documents

ENDS = st.sampled_from(["--", "\n\n", "<|end|>", "ab"])


def joined(parts):
    """Put the parts of each document together."""
    whole, current = [], ""
    for text, ends in parts:
        current += text
        if ends:
            whole.append(current)
            current = ""
    assert current == "", "the last document has no end"
    return whole


@given(st.text(alphabet="ab- \n<|end>é", max_size=60), ENDS, st.integers(2, 99))
def test_documents_are_what_stands_between_separators(text, separator, piece):
    """However the file and long documents are cut."""
    pieces = [text[i : i + piece] for i in range(0, len(text), piece)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PIECE", piece)
        parts = list(split_documents(pieces, separator))
    whole = (part.strip("\n") for part in text.split(separator))
    found = [part.rstrip("\n") for part in joined(parts)]
    assert [part for part in found if part.strip()] == [part for part in whole if part.strip()]
    assert all(len(part) <= 2 * piece + len(separator) for part, _ in parts)


@given(st.lists(st.text(alphabet="ab \n", max_size=30)), st.integers(2, 9))
def test_without_a_separator_all_is_one_document(pieces, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PIECE", piece)
        found = joined(split_documents(pieces, None))
    text = "".join(pieces)
    assert found == [text] or (found == [] and not text.strip())


def test_a_long_document_is_cut_behind_a_line_or_before_a_space(monkeypatch):
    monkeypatch.setattr(documents, "PIECE", 10)

    def parts(text):
        return [part for part, _ in split_documents([text], None)]

    assert parts("one two\nthree four five") == ["one two\n", "three", " four five"]
    assert parts("a" * 25) == ["a" * 10, "a" * 10, "a" * 5]


@given(st.text(max_size=50), st.integers(1, 5))
def test_a_file_comes_in_pieces_whatever_characters_they_cut(tmp_path_factory, text, piece):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(("x" + text).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PIECE", piece)
        assert "".join(read_text(path)) == "x" + text


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 2**20])
@pytest.mark.parametrize(
    ("content", "at"), [(b"ab\xff", 2), (b"\xc3\xa9\xe4\xb8", 2), (b"abc\xe4\xb8x", 3)]
)
def test_the_place_of_what_is_no_utf8_is_named(tmp_path, monkeypatch, content, at, piece):
    monkeypatch.setattr(documents, "PIECE", piece)
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"text.txt: is not UTF-8 at byte {at}$"):
        list(read_text(path))


def test_what_is_no_text_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for name, why in {
        "absent": "no such file", "pipe": "not a regular file", ".": "not a regular file",
        "empty": "is empty",
    }.items():  # fmt: skip
        with pytest.raises(UsageError, match=why):
            list(read_text(tmp_path / name))


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("a")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        list(read_text(path))


def test_a_mark_between_documents_that_is_read_as_prose_is_warned_of_once():
    pieces = ["one<|endof", "text|>two<|endoftext|>", "three"]
    with pytest.warns(UserWarning, match=r"read as prose: --separator '<\|endoftext\|>'") as told:
        assert joined(split_documents(pieces, None)) == ["".join(pieces)]
    assert len(told) == 1
    assert joined(split_documents(pieces, "<|endoftext|>")) == ["one", "two", "three"]
