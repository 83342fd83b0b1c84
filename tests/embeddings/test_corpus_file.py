"""tinyllm.embeddings.corpus_file"""

import bz2
import io
import os
import threading
from codecs import BOM_UTF8
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import data
from tinyllm.embeddings import corpus_file, read_corpus
from tinyllm.embeddings.corpus_file import corpus_lines, open_corpus
from tinyllm.errors import UsageError

TEXT = "Ærø, one line\n\nanother – line\n"
DUMP = "<mediawiki>\n<page>\n<ns>0</ns>\n<text>[[One]] {{x}}page</text>\n</page>\n</mediawiki>\n"


def lines_of(path):
    with open_corpus(path) as lines:
        return "".join(lines)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufeff")))
def test_a_text_is_what_it_is_compressed_or_not(text):
    for content in (b" " + text.encode(), bz2.compress(text.encode()), BOM_UTF8 + text.encode()):
        assert "".join(corpus_lines(io.BytesIO(content), "x")).strip() == text.strip()


def test_text_and_dumps_compressed_or_not(tmp_path):
    for name, content, wanted in [("t", TEXT, TEXT), ("d", DUMP, "One page")]:
        (tmp_path / name).write_text(content, encoding="utf-8")
        (tmp_path / f"{name}.bz2").write_bytes(bz2.compress(content.encode()))
        assert lines_of(tmp_path / name) == lines_of(tmp_path / f"{name}.bz2") == wanted


def test_long_lines_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_file, "LONGEST_LINE", 4)
    (tmp_path / "x").write_text("abc def ghi\n")
    with open_corpus(tmp_path / "x") as lines:
        assert list(lines) == ["abc ", "def ", "ghi\n"]


BAD = {
    "not UTF-8": (b"fine\n\xff\n", "is not UTF-8, soon after line"),
    "UTF-16": ("text".encode("utf-16"), "is not UTF-8"),
    "cut bz2": (bz2.compress(TEXT.encode())[:-9], "is cut short"),
    "damaged bz2": (b"BZh9" + b"x" * 99, "cannot be read: Invalid data stream"),
    "no end": (b"a\n" * 99, "has more than 50 characters"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(corpus_file, "MOST_CHARACTERS", 50)
    content, says = BAD[name]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UsageError) as error:
        lines_of(tmp_path / "x")
    assert says in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "x"))


NO_FILES = {".": "is a folder", "none": "no such file", "a\0b": "no such file"}


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=NO_FILES[name]):
        lines_of(tmp_path / name)


def test_a_device_and_a_file_that_cannot_be_opened_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="is no regular file"):
        lines_of(Path("/dev/zero"))
    (tmp_path / "x").write_text("a")
    monkeypatch.setattr(Path, "open", lambda *_: os.listdir("/none"))
    with pytest.raises(UsageError, match="cannot be read"):
        lines_of(tmp_path / "x")


def test_a_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "x")
    writer = threading.Thread(target=(tmp_path / "x").write_text, args=[TEXT])
    writer.start()
    assert lines_of(tmp_path / "x") == TEXT
    writer.join()


def test_a_slice_of_wikipedia_is_prose():
    folder = data("corpora/wordvec-corpus")
    with open_corpus(next(folder.glob("*.bz2"))) as lines:
        corpus = read_corpus(line for line, _ in zip(lines, range(3000)))
    assert corpus.words[:3] == ("the", "of", "and")
    assert not {"ref", "http", "nbsp", "cite", "lt"} & set(corpus.words[:2000])
