"""Word vectors on disk: one .safetensors file, or the text format of word2vec.

The .safetensors file holds `vectors` (V, D), `counts` (V) where they are known, and `words`: the
words in UTF-8, one a line, as bytes. So a file is whole or absent, and no reader runs anything.

The text format has a line `V D`, and then a line for each word: the word and its D numbers. That of
GloVe, without the first line, is read too.
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tinyllm.checkpoints import read_tensors, write_tensors
from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.checkpoints.diagnose import refusal
from tinyllm.checkpoints.regular_file import open_regular
from tinyllm.embeddings.word_vectors import WordVectors
from tinyllm.shown import shown

LONGEST_LINE = 2**20  # bytes


def save_vectors(path: Path, vectors: WordVectors) -> None:
    """Write a .safetensors file where the name ends so, else the text format; whole or not at all.

    Raises CheckpointError where the disk refuses, or a word does not fit the format.
    """
    odd = next((word for word in vectors.words if not word or word.split() != [word]), None)
    if odd is not None:
        raise refusal(path, f"the word {shown(odd)} is empty or has a space or line break in it")
    if path.suffix != ".safetensors":
        _write_text(path, vectors)
        return
    tensors: dict[str, np.ndarray] = {
        "vectors": vectors.vectors.astype(np.float32),
        "words": np.frombuffer("\n".join(vectors.words).encode(), np.uint8),
    }
    if vectors.counts is not None:
        tensors["counts"] = vectors.counts.astype(np.int64)
    write_tensors(path, tensors, {"format": "tinyllm word vectors"})


def load_vectors(path: Path) -> WordVectors:
    """Read word vectors, in either format as the name says.

    Raises CheckpointError for anything but a valid file: naming the line, or the tensor.
    """
    words, vectors, counts = (
        _read_safetensors(path) if path.suffix == ".safetensors" else (*_read_text(path), None)
    )
    if len(set(words)) < len(words):
        twice = next(word for word, count in Counter(words).items() if count > 1)
        raise refusal(path, f"has two vectors of {shown(twice)}")
    if not np.isfinite(vectors).all():
        bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise refusal(path, f"the vector of {shown(words[bad])} has a number that is not finite")
    return WordVectors(words=tuple(words), vectors=vectors, counts=counts)


def _read_safetensors(path: Path) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    tensors = read_tensors(path)
    vectors, letters, counts = (tensors.get(name) for name in ("vectors", "words", "counts"))
    if vectors is None or letters is None:
        raise refusal(path, "has no tensors `vectors` and `words`: these are no word vectors")
    if letters.dtype != np.uint8 or letters.ndim != 1:
        raise refusal(path, f"words is {letters.dtype} {letters.shape}; expected bytes in a row")
    try:
        words = letters.tobytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise refusal(path, f"words is not UTF-8 at byte {error.start}") from error
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(words):
        what = f"vectors is {vectors.dtype} {vectors.shape}"
        raise refusal(path, f"{what}; expected float32 ({len(words)}, D), a row for each word")
    if counts is not None and (counts.dtype != np.int64 or counts.shape != (len(words),)):
        what = f"counts is {counts.dtype} {counts.shape}"
        raise refusal(path, f"{what}; expected int64 ({len(words)},)")
    return words, vectors, counts


def _write_text(path: Path, vectors: WordVectors) -> None:
    """Write the shortest digits that give the same float32."""
    V, D = vectors.vectors.shape
    with atomic_write(path) as file:
        file.write(f"{V} {D}\n".encode())
        for word, row in zip(vectors.words, vectors.vectors.astype(np.float32), strict=True):
            file.write(f"{word} {' '.join(row.astype(str))}\n".encode())


def _read_text(path: Path) -> tuple[list[str], np.ndarray]:
    with open_regular(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        lines = _lines(path, file)
        first = next(lines, "")
        header = first.split()
        if len(header) == 2 and all(part.isascii() and part.isdigit() for part in header):
            V, D = int(header[0][:19]), int(header[1][:19])
        else:
            V, D = None, len(header) - 1
            lines = (line for part in ([first], lines) for line in part)
        if D < 1:
            raise refusal(path, f"begins with {shown(first[:40])}; expected `V D`, or a word's row")
        words, numbers = _rows(path, lines, D, 1 if V is None else 2)
    if V not in (None, len(words)):
        raise refusal(path, f"has {len(words)} rows, but its first line says {V}")
    return words, np.frombuffer(numbers, np.float32).reshape(len(words), D)


def _lines(path: Path, file: BinaryIO) -> Iterator[str]:
    """Yield the lines without their ends; refuse what is no text."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise refusal(path, f"line {number} is longer than {LONGEST_LINE} bytes")
        try:
            yield line.decode("utf-8").rstrip("\r\n ")
        except UnicodeDecodeError:
            raise refusal(
                path, f"line {number} is not UTF-8; expected word2vec's text format, not its binary"
            ) from None


def _rows(path: Path, lines: Iterator[str], D: int, at: int) -> tuple[list[str], array]:
    """Read rows; the first stands in line `at`."""
    words, numbers = list[str](), array("f")
    for line, row in enumerate(lines, at):
        word, *fields = row.rsplit(" ", D)
        try:
            values = [float(field) for field in fields]
        except ValueError:
            values = []
        if len(values) != D or not word:
            raise refusal(path, f"line {line} is not a word and {D} numbers")
        numbers.extend(values)  # what is too large for float32 gets infinite
        words.append(word)
    return words, numbers
