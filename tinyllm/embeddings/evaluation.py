"""How word vectors are judged: by people's ratings of similarity, and by analogies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyllm.embeddings.word_vectors import WordVectors
from tinyllm.errors import UsageError
from tinyllm.files import read_bytes
from tinyllm.shown import plain, shown

LARGEST_FILE = 64 * 2**20  # bytes
BATCH = 512  # analogies answered at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A score, and how many of the questions it covers: those whose words all have vectors."""

    name: str
    score: float  # NaN where none, or where all are equal
    covered: int
    questions: int


def ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Number values from the least, 1; equal ones share the mean of their ranks.

    >>> ranks([3.0, 1.0, 3.0]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Return Spearman's ρ, the correlation of ranks; NaN where one side is all equal.

    >>> round(spearman([1, 2, 3], [10, 1000, 100]), 3)
    0.5
    """
    a, b = (r - r.mean() for r in (ranks(x), ranks(y)))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def evaluate_similarity(vectors: WordVectors, path: Path) -> Score:
    """Correlate cosines with ratings: WordSim-353's or SimLex-999's, as word, word and number.

    Raises UsageError where the file cannot be read so.
    """
    cosines, ratings, questions = list[float](), list[float](), 0
    for number, line in _lines(path):
        try:
            one, two, rating = line.split("\t")
            rated = float(rating)
        except ValueError:
            raise UsageError(
                f"{plain(path)}: line {number} is {shown(line)}; expected word TAB word TAB number"
            ) from None
        questions += 1
        i, j = vectors.find(one), vectors.find(two)
        if i is not None and j is not None:
            cosines.append(float(vectors.unit[i] @ vectors.unit[j]))
            ratings.append(rated)
    score = spearman(cosines, ratings) if len(cosines) > 1 else math.nan
    return Score(name=path.name, score=score, covered=len(cosines), questions=questions)


def evaluate_analogies(vectors: WordVectors, path: Path) -> list[Score]:
    """Answer questions of four words, a b c d: right where d is nearest to b - a + c.

    Returns a score for each section (`: name` lines begin one), and one named "total" in the end.
    Raises UsageError where the file cannot be read so.
    """
    sections: list[tuple[str, list[list[int | None]]]] = []
    for number, line in _lines(path):
        if line.startswith(":"):
            sections.append((line[1:].strip(), []))
            continue
        words = line.split()
        if len(words) != 4:
            raise UsageError(
                f"{plain(path)}: line {number} is {shown(line)}; expected four words, or : SECTION"
            )
        if not sections:
            sections.append((path.stem, []))
        sections[-1][1].append([vectors.find(word) for word in words])
    scores, right, covered = list[Score](), 0, 0
    for name, questions in sections:
        known = np.array([ids for ids in questions if None not in ids], np.int64).reshape(-1, 4)
        hits = sum(_right(vectors, known[i : i + BATCH]) for i in range(0, len(known), BATCH))
        scores.append(_accuracy(name, hits, len(known), len(questions)))
        right, covered = right + hits, covered + len(known)
    asked = sum(len(questions) for _, questions in sections)
    return [*scores, _accuracy("total", right, covered, asked)]


def _right(vectors: WordVectors, ids: np.ndarray) -> int:
    """Count the questions whose answer is nearest, the three words given left out."""
    a, b, c, d = ids.T
    cosines = (vectors.unit[b] - vectors.unit[a] + vectors.unit[c]) @ vectors.unit.T  # (N, V)
    np.put_along_axis(cosines, ids[:, :3], -np.inf, axis=1)
    return int(np.sum(np.argmax(cosines, axis=1) == d))


def _accuracy(name: str, right: int, covered: int, questions: int) -> Score:
    score = right / covered if covered else math.nan
    return Score(name=name, score=score, covered=covered, questions=questions)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines with something in them but comments, numbered."""
    content = read_bytes(path, UsageError, LARGEST_FILE)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{plain(path)}: is not UTF-8 at byte {error.start}") from error
    lines = enumerate(text.splitlines(), 1)
    return [(i, line) for i, line in lines if line.strip() and not line.startswith("#")]
