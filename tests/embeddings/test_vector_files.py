"""tinyllm.embeddings.files"""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import rngs, sizes
from tinyllm.checkpoints import write_tensors
from tinyllm.embeddings import WordVectors, files, load_vectors, save_vectors
from tinyllm.errors import CheckpointError

words = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=5),
    min_size=1, max_size=6, unique=True,
).filter(lambda found: all(word.split() == [word] for word in found))  # fmt: skip


@pytest.mark.parametrize("name", ["x.safetensors", "x.txt"])
@given(words, sizes, rngs)
def test_what_is_saved_is_what_is_loaded(tmp_path_factory, name, words, D, rng):
    path = tmp_path_factory.mktemp("x") / name
    rows = (rng.standard_normal((len(words), D)) * 10.0 ** rng.integers(-30, 30)).astype(np.float32)
    counts = rng.integers(1, 9, len(words))
    save_vectors(path, WordVectors(words=tuple(words), vectors=rows, counts=counts))
    loaded = load_vectors(path)
    assert loaded.words == tuple(words)
    assert np.array_equal(loaded.vectors, rows)
    assert loaded.vectors.dtype == np.float32
    assert loaded.counts is None if name == "x.txt" else np.array_equal(loaded.counts, counts)
    assert os.listdir(path.parent) == [name]


def test_the_text_format_is_word2vec_s(tmp_path):
    path = tmp_path / "x.txt"
    vectors = np.array([[0.5, -1], [1e-10, 3]], np.float32)
    save_vectors(path, WordVectors(words=("a", "b"), vectors=vectors))
    assert path.read_text() == "2 2\na 0.5 -1.0\nb 1e-10 3.0\n"


def test_glove_s_text_and_words_with_spaces_are_read(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"the 1 2 3\r\n. . 4 5 6 \nc 7 8 9")
    loaded = load_vectors(path)
    assert loaded.words == ("the", ". .", "c")
    assert loaded.vectors.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


BAD_TEXT = {
    "empty": (b"", "begins with ''"),
    "dimension 0": (b"1 0\na\n", "begins with '1 0'"),
    "one column": (b"word\n", "begins with 'word'"),
    "too few rows": (b"3 2\na 1 2\n", "has 1 rows, but its first line says 3"),
    "too many rows": (b"1 1\na 1\nb 2\n", "has 2 rows, but its first line says 1"),
    "a vast size": (b"9" * 18 + b" 2\na 1 2\n", "has 1 rows"),
    "a vast dimension": (b"1 99999999999\na 1 2\n", "line 2 is not a word and 99999999999"),
    "too few numbers": (b"2 2\na 1 2\nb 1\n", "line 3 is not a word and 2 numbers"),
    "no number": (b"1 2\na 1 x\n", "line 2 is not a word and 2 numbers"),
    "no word": (b"1 2\n 1 2\n", "line 2 is not a word"),
    "a blank line": (b"2 1\na 1\n\nb 1\n", "line 3 is not a word"),
    "not finite": (b"1 2\na 1 nan\n", "the vector of 'a' has a number that is not finite"),
    "too large": (b"1 2\na 1 1e99\n", "the vector of 'a' has a number that is not finite"),
    "twice": (b"2 1\na 1\na 2\n", "has two vectors of 'a'"),
    "binary": (b"1 2\na \xff\xfe\x00\x01\n", "line 2 is not UTF-8; expected word2vec's text"),
    "a long line": (b"1 2\n" + b"a" * 99, "line 2 is longer than 50 bytes"),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_text_is_refused_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "LONGEST_LINE", 50)
    content, says = BAD_TEXT[name]
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    refused(path, says)


def refused(path, says):
    with pytest.raises(CheckpointError) as error:
        load_vectors(path)
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value).splitlines()) == 1


letters = np.frombuffer(b"a\nb", np.uint8)
rows = np.ones((2, 3), np.float32)
BAD_TENSORS = {
    "no words": ({"vectors": rows}, "has no tensors `vectors` and `words`"),
    "a model": ({"model.norm.weight": rows}, "these are no word vectors"),
    "words of floats": ({"vectors": rows, "words": rows}, "words is float32"),
    "not UTF-8": (
        {"vectors": rows, "words": np.frombuffer(b"a\n\xff", np.uint8)}, "not UTF-8 at byte 2",
    ),
    "a word too few": (
        {"vectors": rows, "words": letters[:1]}, "expected float32 (1, D), a row for each word",
    ),
    "float64": ({"vectors": rows.astype(np.float64), "words": letters}, "vectors is float64"),
    "counts": (
        {"vectors": rows, "words": letters, "counts": np.ones(3, np.int64)}, "counts is int64 (3,)",
    ),
    "twice": (
        {"vectors": rows, "words": np.frombuffer(b"a\na", np.uint8)}, "has two vectors of 'a'",
    ),
    "infinite": (
        {"vectors": rows * np.float32(np.inf), "words": letters}, "the vector of 'a' has a number",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_bad_tensors_are_refused_in_one_line(tmp_path, name):
    tensors, says = BAD_TENSORS[name]
    write_tensors(tmp_path / "x.safetensors", tensors)
    refused(tmp_path / "x.safetensors", says)


def test_no_file_and_a_pipe_are_refused(tmp_path):
    refused(tmp_path / "none.txt", "cannot be opened")
    refused(tmp_path, "not a regular file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")


@pytest.mark.parametrize("word", ["", "two words", "line\nbreak", " a"])
def test_words_that_the_formats_cannot_hold_are_refused(tmp_path, word):
    vectors = WordVectors(words=(word,), vectors=np.ones((1, 1), np.float32))
    with pytest.raises(CheckpointError, match="is empty or has a space or line break"):
        save_vectors(tmp_path / "x.txt", vectors)
    assert os.listdir(tmp_path) == []
