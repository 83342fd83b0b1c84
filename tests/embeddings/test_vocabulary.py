"""tinyllm.embeddings.vocabulary"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.embeddings import vocabulary
from tinyllm.embeddings.vocabulary import check_length, read_corpus, split_words
from tinyllm.errors import UsageError

texts = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=8).map(" ".join), min_size=1)


def test_words_are_runs_of_letters_of_any_script():
    assert split_words("Don't 3x4 Ærø's_naïve, 東京!") == ["don't", "x", "ærø's", "naïve", "東京"]
    assert split_words("It’s 'quoted'", keep_case=True) == ["It’s", "quoted"]


@given(texts, st.integers(1, 4))
def test_the_corpus_is_its_frequent_words_in_order(lines, min_count):
    counts = Counter(" ".join(lines).split())
    frequent = {word: n for word, n in counts.items() if n >= min_count}
    if len(frequent) < 2:
        with pytest.raises(UsageError, match="expected at least 2"):
            read_corpus(lines, min_count=min_count)
        return
    corpus = read_corpus(lines, min_count=min_count)
    assert dict(zip(corpus.words, corpus.counts.tolist())) == frequent
    assert (np.diff(corpus.counts) <= 0).all()
    kept = [(i, word) for i, line in enumerate(lines) for word in line.split() if word in frequent]
    assert [corpus.words[t] for t in corpus.tokens] == [word for _, word in kept]
    assert corpus.sentences.tolist() == [i for i, _ in kept]
    assert corpus.total == sum(counts.values())


def test_a_corpus_shorter_than_a_window_is_refused():
    corpus = read_corpus(["a b a"], min_count=1)
    check_length(corpus, 2)
    with pytest.raises(UsageError, match="the corpus has 3 words"):
        check_length(corpus, 3)


@pytest.mark.parametrize("lines", [[], [""], ["1 2 3"], ["one word one"]])
def test_a_corpus_without_two_words_is_refused(lines):
    with pytest.raises(UsageError, match="expected at least 2"):
        read_corpus(lines, min_count=2)


def test_a_corpus_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(vocabulary, "MOST_WORDS", 10)
    with pytest.raises(UsageError, match="more than 10 words"):
        read_corpus(iter(lambda: "a b c", None))
