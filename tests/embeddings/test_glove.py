"""tinyllm.embeddings.glove"""

import numpy as np
import pytest

import tinyllm_numpy
from tinyllm.embeddings import (
    Cooccurrences,
    GloveOptions,
    count_cooccurrences,
    glove_vectors,
    read_corpus,
    train_glove,
)
from tinyllm.embeddings.glove import CONTEXT, CONTEXT_BIAS, WORD, WORD_BIAS, adagrad_rows
from tinyllm.errors import UsageError


def entries(X):
    rows, columns = np.nonzero(X)
    return Cooccurrences(rows=rows, columns=columns, counts=X[rows, columns])


def fitted(params):
    return params[WORD] @ params[CONTEXT].T + params[WORD_BIAS] + params[CONTEXT_BIAS].T


def test_full_rank_factors_reproduce_the_logarithms_exactly():
    rng = np.random.default_rng(0)
    X = np.exp(rng.standard_normal((4, 4)) + 3)
    options = GloveOptions(dim=4, epochs=500, lr=0.3, x_max=10.0, batch_size=16)
    told = []
    params = train_glove(tinyllm_numpy, entries(X), 4, options, lambda *row: told.append(row[1]))
    np.testing.assert_allclose(fitted(params), np.log(X), atol=1e-3)
    assert told[-1] < 1e-7 < 1e-3 < told[0]
    assert np.array_equal(glove_vectors(params), params[WORD] + params[CONTEXT])


def test_a_matrix_of_rank_two_needs_no_more_dimensions():
    rng = np.random.default_rng(1)
    log_x = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 6))
    log_x = log_x + rng.standard_normal((6, 1)) + rng.standard_normal((1, 6)) + 2
    options = GloveOptions(dim=2, epochs=900, lr=0.4, x_max=1.0, batch_size=36)
    params = train_glove(tinyllm_numpy, entries(np.exp(log_x)), 6, options)
    np.testing.assert_allclose(fitted(params), log_x, atol=0.02)


def test_a_step_of_adagrad_by_hand():
    table, squares = np.asarray([[1.0], [2.0], [3.0]]), np.ones((3, 1))
    adagrad_rows(
        tinyllm_numpy, table, squares, np.asarray([2, 0]), np.asarray([[2.0], [-1.0]]), 0.5
    )
    np.testing.assert_allclose(squares[:, 0], [2, 1, 5])
    np.testing.assert_allclose(table[:, 0], [1 + 0.5 / 2**0.5, 2, 3 - 0.5 * 2 / 5**0.5])


def test_the_first_step_follows_half_the_loss_of_every_pair():
    X = np.array([[2.0, 3.0], [5.0, 0.0]])
    options = GloveOptions(dim=1, epochs=1, lr=1e-4, x_max=1.0, batch_size=3)
    start = train_glove(tinyllm_numpy, entries(X), 2, GloveOptions(dim=1, epochs=1, lr=1e-30))
    end = train_glove(tinyllm_numpy, entries(X), 2, options)
    residual = np.where(X > 0, fitted(start) - np.log(np.where(X > 0, X, 1)), 0)
    for name, g in {
        WORD: residual @ start[CONTEXT],
        CONTEXT: residual.T @ start[WORD],
        WORD_BIAS: residual.sum(1, keepdims=True),
        CONTEXT_BIAS: residual.sum(0)[:, None],
    }.items():
        np.testing.assert_allclose(
            (start[name] - end[name]) / 1e-4, g / np.sqrt(1 + g * g), rtol=2e-2, atol=2e-3
        )


def test_equal_seeds_give_equal_vectors_and_near_words_near_vectors():
    text = ["red apple sweet fruit", "green apple sour fruit", "fast car loud engine"] * 30
    corpus = read_corpus(text, min_count=1)
    counts = count_cooccurrences(corpus, window=3)
    options = GloveOptions(dim=6, epochs=60, x_max=20.0, batch_size=16)
    V = len(corpus.words)
    vectors = glove_vectors(train_glove(tinyllm_numpy, counts, V, options))
    again = glove_vectors(train_glove(tinyllm_numpy, counts, V, options))
    assert np.array_equal(vectors, again)
    other = GloveOptions(dim=6, epochs=1, seed=1)
    assert not np.array_equal(glove_vectors(train_glove(tinyllm_numpy, counts, V, other)), vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    red, green, car = (corpus.words.index(word) for word in ("red", "green", "car"))
    assert unit[red] @ unit[green] > unit[red] @ unit[car]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dim", 0), ("epochs", 0), ("batch_size", 0), ("lr", float("nan")), ("lr", -0.1),
        ("x_max", 0.0), ("alpha", float("inf")), ("seed", -1),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=f"^{name} is "):
        GloveOptions(**{name: value})


def test_nothing_to_learn_from_and_divergence_are_said():
    empty = Cooccurrences(rows=np.zeros(0, int), columns=np.zeros(0, int), counts=np.zeros(0))
    with pytest.raises(UsageError, match="nothing to learn from"):
        train_glove(tinyllm_numpy, empty, 2, GloveOptions())
    options = GloveOptions(dim=2, lr=1e30, epochs=9)
    with pytest.raises(UsageError, match="lower lr"):
        train_glove(tinyllm_numpy, entries(np.ones((2, 2)) * 7), 2, options)
