"""tinyllm.embeddings.cooccurrence"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.embeddings import cooccurrence
from tinyllm.embeddings.cooccurrence import count_cooccurrences
from tinyllm.embeddings.vocabulary import read_corpus
from tinyllm.errors import UsageError

lines = st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), max_size=5)


def by_definition(corpus, window):
    V = len(corpus.words)
    X = np.zeros((V, V))
    for i in range(len(corpus.tokens)):
        for j in range(len(corpus.tokens)):
            if i != j and abs(i - j) <= window and corpus.sentences[i] == corpus.sentences[j]:
                X[corpus.tokens[i], corpus.tokens[j]] += 1 / abs(i - j)
    return X


@given(lines, st.integers(1, 4), st.sampled_from([2, 5, 2**20]))
def test_counts_are_those_of_the_definition_for_any_chunk(lines, window, chunk):
    corpus = read_corpus([*lines, "a b c d a b"], min_count=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cooccurrence, "CHUNK", chunk)
        counts = count_cooccurrences(corpus, window=window)
    X = np.zeros((len(corpus.words),) * 2)
    X[counts.rows, counts.columns] = counts.counts
    np.testing.assert_allclose(X, by_definition(corpus, window), rtol=1e-13)
    assert (counts.counts > 0).all()
    keys = counts.rows * len(corpus.words) + counts.columns
    assert (np.diff(keys) > 0).all()


def test_a_window_of_nothing_and_a_corpus_shorter_than_it_are_refused():
    corpus = read_corpus(["a b a"], min_count=1)
    with pytest.raises(UsageError, match="window is 0"):
        count_cooccurrences(corpus, window=0)
    with pytest.raises(UsageError, match="the corpus has 3 words"):
        count_cooccurrences(corpus, window=9)
