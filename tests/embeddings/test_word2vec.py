"""tinyllm.embeddings.word2vec: gradients, the optimum that is known, training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tinyllm.embeddings import Word2VecOptions, read_corpus, train_word2vec
from tinyllm.embeddings.windows import Windows
from tinyllm.embeddings.word2vec import GRADIENTS, INPUT, OUTPUT, init_word2vec
from tinyllm.errors import UsageError
from tinyllm.ops.negative_sampling import negative_sampling_backward, negative_sampling_forward

V, D, N, C = 5, 4, 6, 4


def random_windows(rng):
    inside = rng.random((N, C)) < 0.6
    inside[np.arange(N), rng.integers(0, C, N)] = True
    return Windows(
        centres=rng.integers(0, V, N), contexts=rng.integers(0, V, (N, C)), inside=inside
    )


def formula(method, params, windows, noise, k):
    """The loss, pair by pair, as the papers write it."""
    log_sigmoid, loss = lambda x: -np.log1p(np.exp(-x)), 0.0
    for centre, contexts, inside in zip(windows.centres, windows.contexts, windows.inside):
        around = contexts[inside]
        if method == "skip-gram":
            pairs = [(params[INPUT][centre], target) for target in around]
        else:
            pairs = [(params[INPUT][around].mean(axis=0), centre)]
        for x, target in pairs:
            loss -= log_sigmoid(x @ params[OUTPUT][target])
            loss -= k * np.mean([log_sigmoid(-x @ params[OUTPUT][n]) for n in noise])
    return loss


@pytest.mark.parametrize("method", GRADIENTS)
@given(st.integers(1, 4), st.integers(1, 6), rngs)
def test_gradients_are_those_of_the_formula(method, k, S, rng):
    params = {name: rng.standard_normal((V, D)) for name in (INPUT, OUTPUT)}
    windows, noise = random_windows(rng), rng.integers(0, V, S)
    loss, grads = GRADIENTS[method](tinyllm_numpy, params, windows, noise, negatives=k)
    assert float(loss) == pytest.approx(formula(method, params, windows, noise, k), rel=1e-6)
    dense = {name: np.zeros((V, D)) for name in params}
    for name, ids, rows in grads:
        np.add.at(dense[name], ids, rows)
    for name in params:
        v, h = rng.standard_normal((V, D)), 1e-5
        upper, lower = (
            formula(method, params | {name: params[name] + step * v}, windows, noise, k)
            for step in (h, -h)
        )
        scale = 1 + np.abs(dense[name] * v).sum()
        assert abs((upper - lower) / (2 * h) - np.sum(dense[name] * v)) < 1e-6 * scale


def minimised(xp, joint, noise, k):
    """Minimise the expected loss over all pairs by Newton's method on the scores, full rank.

    Of the identity as input vectors, the output vectors are the scores themselves.
    """
    size = len(joint)
    x, scores = np.eye(size), np.zeros((size, size))
    for _ in range(60):
        targets = np.broadcast_to(scores.T, (size, size, size))
        arrays = [xp.asarray(a) for a in (x, targets, joint, scores.T[noise])]
        loss, saved = negative_sampling_forward(xp, *arrays, negatives=k)
        _, dtargets, _, dnoise = negative_sampling_backward(xp, xp.ones_like(loss), saved)
        dscores = xp.to_numpy(dtargets).sum(axis=0).T
        dscores = dscores + np.stack(
            [xp.to_numpy(dnoise)[noise == word].sum(axis=0) for word in range(size)], axis=1
        )
        share = np.bincount(noise, minlength=size) / len(noise)
        s = 1 / (1 + np.exp(-scores))
        curvature = s * (1 - s) * (joint + k * joint.sum(1, keepdims=True) * share)
        scores = scores - dscores / curvature
    return scores


@pytest.mark.parametrize("k", [1, 5])
def test_the_optimum_is_pointwise_mutual_information_less_log_k(xp, k):
    """Levy & Goldberg 2014, "Neural word embedding as implicit matrix factorization"."""
    rng = np.random.default_rng(k)
    noise = np.repeat(np.arange(5), [4, 3, 2, 2, 1])  # the unigram distribution as a list of draws
    unigram = np.bincount(noise) / len(noise)
    joint = np.exp(0.5 * rng.standard_normal((5, 5)))
    for _ in range(500):  # both margins are to be the unigram distribution
        joint *= (unigram / joint.sum(1))[:, None]
        joint *= unigram / joint.sum(0)
    pmi = np.log(joint / np.outer(unigram, unigram))
    np.testing.assert_allclose(minimised(xp, joint, noise, k), pmi - np.log(k), atol=1e-9)


def test_training_finds_the_optimum_of_a_toy_language():
    rng = np.random.default_rng(0)
    joint = np.array([[6, 1, 1], [1, 4, 2], [1, 2, 3]]) / 21
    pairs = rng.choice(9, 15_000, p=joint.ravel())
    lines = [f"{'abc'[p // 3]} {'abc'[p % 3]}" for p in pairs]
    corpus = read_corpus(lines, min_count=1)
    options = Word2VecOptions(
        dim=4, window=1, negatives=1, subsample=0, epochs=4, lr=0.02, batch_size=400, noise_size=200
    )
    params = train_word2vec(tinyllm_numpy, corpus, options)
    order = [corpus.words.index(word) for word in "abc"]
    found = (params[INPUT] @ params[OUTPUT].T)[np.ix_(order, order)]
    noise = corpus.counts[order] ** 0.75
    expected = np.log(joint / np.outer(joint.sum(1), noise / noise.sum()))
    np.testing.assert_allclose(found, expected, atol=0.2)


CIRCLE = [" ".join("abcdefgh"[(i + j) % 8] for j in range(6)) for i in range(8)] * 12


@pytest.mark.parametrize("method", GRADIENTS)
def test_training_learns_who_stands_near_whom_and_repeats_itself(method):
    corpus = read_corpus(CIRCLE, min_count=1)
    options = Word2VecOptions(
        method=method, dim=8, window=2, subsample=0, epochs=12, lr=0.05, batch_size=32
    )
    told = []
    params = train_word2vec(tinyllm_numpy, corpus, options, lambda *row: told.append(row))
    assert [epoch for epoch, _, _ in told] == list(range(1, 13))
    assert told[-1][1] < 0.9 * told[0][1]
    rates = [lr for _, _, lr in told]
    np.testing.assert_allclose(rates, 0.05 * np.maximum(1 - np.arange(1, 13) / 12, 1e-4), rtol=0.01)
    scores = params[INPUT] @ params[OUTPUT].T
    a, b, e = (corpus.words.index(word) for word in "abe")
    assert scores[a, b] > scores[a, e] + 0.5
    again = train_word2vec(tinyllm_numpy, corpus, options)
    assert all(np.array_equal(params[name], again[name]) for name in params)
    other = train_word2vec(
        tinyllm_numpy, corpus, Word2VecOptions(method=method, dim=8, window=2, epochs=1, seed=1)
    )
    assert not np.array_equal(params[INPUT], other[INPUT])


def test_the_start_is_small_and_predicts_nothing():
    params = init_word2vec(1000, 10, np.random.default_rng(0))
    assert np.abs(params[INPUT]).max() <= 0.05
    assert np.abs(params[INPUT]).max() > 0.049
    assert abs(params[INPUT].mean()) < 0.001
    assert not params[OUTPUT].any()
    assert {table.dtype for table in params.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dim", 0), ("dim", -3), ("dim", 1.5), ("window", 0), ("negatives", 0), ("epochs", 0),
        ("batch_size", 0), ("noise_size", 0), ("lr", float("nan")), ("lr", 0.0), ("lr", -1.0),
        ("lr", float("inf")), ("subsample", -0.1), ("subsample", 1.0), ("subsample", float("nan")),
        ("seed", -1), ("method", "glove"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=f"^{name} is "):
        Word2VecOptions(**{name: value})


def test_training_that_diverges_says_so():
    corpus = read_corpus(CIRCLE, min_count=1)
    options = Word2VecOptions(dim=8, window=2, subsample=0, lr=1e30)
    with pytest.raises(UsageError, match="lower lr"):
        train_word2vec(tinyllm_numpy, corpus, options)


def test_lines_of_one_word_teach_nothing():
    corpus = read_corpus(["a", "b", "a", "b", "a", "b", "a"], min_count=1)
    with pytest.raises(UsageError, match="no line has two words"):
        train_word2vec(tinyllm_numpy, corpus, Word2VecOptions(window=2))
