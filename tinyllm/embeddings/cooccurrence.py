"""How often words stand near each other: the counts that GloVe fits."""

from dataclasses import dataclass

import numpy as np

from tinyllm.embeddings.vocabulary import Corpus, check_length
from tinyllm.errors import UsageError

CHUNK = 2**20  # tokens counted at once, which bounds the memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Cooccurrences:
    """The entries of the matrix X that are not zero: X[rows[i], columns[i]] = counts[i]."""

    rows: np.ndarray
    columns: np.ndarray
    counts: np.ndarray


def count_cooccurrences(corpus: Corpus, *, window: int = 10) -> Cooccurrences:
    """Count the pairs of words at most `window` apart in a line, each as 1/distance, both ways.

    Sorted by row, then by column. Raises UsageError for a corpus shorter than a window.
    """
    if window < 1:
        raise UsageError(f"window is {window}, expected a whole number of at least 1")
    check_length(corpus, window)
    V = len(corpus.words)
    keys, counts = np.zeros(0, np.int64), np.zeros(0)
    for start in range(0, len(corpus.tokens), CHUNK):
        for distance in range(1, window + 1):
            near = _pairs(corpus, start, distance)
            keys, counts = _added(keys, counts, near[0] * V + near[1], 1 / distance)
    rows, columns = np.divmod(keys, V)
    # Once with each word first: a pair of equal words counts for both, as in the paper's X.
    both = np.concatenate([keys, columns * V + rows])
    keys, counts = _summed(both, np.concatenate([counts, counts]))
    rows, columns = np.divmod(keys, V)
    return Cooccurrences(rows=rows, columns=columns, counts=counts)


def _pairs(corpus: Corpus, start: int, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the words of a chunk that have another one so far behind them, and these."""
    end = min(start + CHUNK, len(corpus.tokens) - distance)
    first = slice(start, max(start, end))
    second = slice(start + distance, max(start, end) + distance)
    same = corpus.sentences[first] == corpus.sentences[second]
    words = corpus.tokens.astype(np.int64, copy=False)
    return words[first][same], words[second][same]


def _added(
    keys: np.ndarray, counts: np.ndarray, more: np.ndarray, weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Add pairs, all of one weight, to those counted so far."""
    unique, times = np.unique(more, return_counts=True)
    return _summed(np.concatenate([keys, unique]), np.concatenate([counts, times * weight]))


def _summed(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up the counts of equal keys."""
    unique, inverse = np.unique(keys, return_inverse=True)
    return unique, np.bincount(inverse, weights=counts, minlength=len(unique))
