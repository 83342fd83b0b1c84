"""tinyllm.embeddings.windows"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.embeddings.vocabulary import read_corpus
from tinyllm.embeddings.windows import (
    draw,
    keep_probabilities,
    noise_distribution,
    window_batches,
)


def corpus_of(rng, lines=4, length=7):
    words = [
        [chr(97 + i) for i in rng.integers(0, 5, rng.integers(1, length))] for _ in range(lines)
    ]
    words.append(list("abcde"))
    return read_corpus([" ".join(line) for line in words], min_count=1)


@given(st.integers(1, 4), st.integers(1, 5), rngs)
def test_every_kept_word_with_company_is_a_centre_once_and_sees_its_own_line(window, size, rng):
    corpus = corpus_of(rng)
    everything = np.ones(len(corpus.words))
    seen = list(window_batches(corpus, everything, rng, window=window, batch_size=size))
    centres = np.concatenate([batch.centres for batch in seen])
    lengths = np.bincount(corpus.sentences)
    company = lengths[corpus.sentences] > 1
    assert sorted(centres) == sorted(corpus.tokens[company])
    first = np.diff(corpus.sentences, prepend=-1) > 0
    for side in (window - 1, window):  # the words right before and right after are always seen
        assert sum(batch.inside[:, side].sum() for batch in seen) == np.sum(~first)
    lines = {i: corpus.tokens[corpus.sentences == i].tolist() for i in corpus.sentences}
    for batch in seen:
        assert len(batch.centres) <= size
        assert batch.contexts.shape == batch.inside.shape == (len(batch.centres), 2 * window)
        assert batch.inside.any(axis=1).all()
        for centre, contexts, inside in zip(batch.centres, batch.contexts, batch.inside):
            before, after = inside[:window], inside[window:]
            assert (np.diff(before.astype(int)) >= 0).all(), "words before have no gap"
            assert (np.diff(after.astype(int)) <= 0).all(), "words after have no gap"
            phrase = [*contexts[:window][before], centre, *contexts[window:][after]]
            assert any(
                line[at : at + len(phrase)] == phrase
                for line in lines.values()
                for at in range(len(line))
            )


def test_a_window_reaches_1_to_its_size_equally_often():
    rng = np.random.default_rng(1)
    corpus = read_corpus(["a b " * 2000], min_count=1)
    reaches = np.concatenate(
        [
            batch.inside[:, :3].sum(axis=1)
            for batch in window_batches(corpus, np.ones(2), rng, window=3, batch_size=500)
        ]
    )
    shares = np.bincount(reaches, minlength=4)[1:] / len(reaches)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)


def test_words_are_dropped_before_windows_are_made():
    rng = np.random.default_rng(2)
    corpus = read_corpus(["a x b x a x b x"] * 3, min_count=1)
    keep = np.array([float(word != "x") for word in corpus.words])
    pairs = set()
    for batch in window_batches(corpus, keep, rng, window=1, batch_size=50):
        for centre, contexts, inside in zip(batch.centres, batch.contexts, batch.inside):
            pairs |= {(corpus.words[centre], corpus.words[c]) for c in contexts[inside]}
    assert pairs == {("a", "b"), ("b", "a")}


def test_keep_probabilities_are_those_of_the_program_not_of_the_paper():
    counts = np.array([900, 90, 10])
    f = np.array([0.9, 0.09, 0.01])
    wanted = np.minimum(1, (np.sqrt(f / 0.02) + 1) * 0.02 / f)
    np.testing.assert_allclose(keep_probabilities(counts, 0.02), wanted, rtol=1e-14)
    assert keep_probabilities(counts, 0.02)[2] == 1
    assert (keep_probabilities(counts, 0.0) == 1).all()


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6))
def test_noise_lies_between_the_text_and_the_uniform_distribution(counts):
    counts = np.array(counts)
    noise = noise_distribution(counts)
    assert noise.sum() == pytest.approx(1)
    np.testing.assert_allclose(noise / noise[0], (counts / counts[0]) ** 0.75, rtol=1e-12)
    np.testing.assert_allclose(noise_distribution(counts, 1.0), counts / counts.sum())


def test_draws_follow_the_distribution():
    rng = np.random.default_rng(3)
    wanted = np.array([0.5, 0.0, 0.3, 0.2])
    drawn = draw(rng, np.cumsum(wanted), (2, 10_000))
    assert drawn.shape == (2, 10_000)
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=4) / 20_000, wanted, atol=0.02)


@given(st.integers(1, 9), rngs)
def test_two_halves_are_the_whole(size, rng):
    corpus = corpus_of(rng)
    batch = next(window_batches(corpus, np.ones(5), rng, window=2, batch_size=size))
    first, second = batch.halves()
    assert 0 <= len(first.centres) - len(second.centres) <= 1
    for name in ("centres", "contexts", "inside"):
        parts = [getattr(half, name) for half in (first, second)]
        assert np.array_equal(np.concatenate(parts), getattr(batch, name))
