"""tinyllm.training.gradients"""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tiny import configs, random_params, tiny_config, tree_of
from tinyllm.model import Model
from tinyllm.ops.losses import (
    IGNORED,
    cross_entropy_backward,
    cross_entropy_forward,
    summed_cross_entropy,
)
from tinyllm.params import nest
from tinyllm.training.gradients import added, batch_gradients

CONFIG = tiny_config()
PARAMS = random_params(CONFIG)


def text(rng, B, T, config=CONFIG):
    """Draw tokens and targets (B, T) of which some do not count."""
    tokens, targets = rng.integers(0, config.vocab_size, (2, B, T))
    targets[rng.random((B, T)) < 0.3] = IGNORED
    targets[0, 0] = 1  # at least one counts
    return tokens, targets


def assert_same(one, other, tolerance=0.0):
    assert one.count == other.count
    assert one.loss_sum == pytest.approx(other.loss_sum, rel=tolerance, abs=0)
    assert one.grads.keys() == other.grads.keys()
    for name, grad in one.grads.items():
        wanted = other.grads[name]
        assert grad.dtype == wanted.dtype
        assert np.abs(grad - wanted).max() <= tolerance * max(1.0, np.abs(wanted).max()), name


@settings(max_examples=15)
@given(configs, st.integers(1, 5), st.integers(1, 5), rngs)
def test_divided_by_its_count_it_is_the_loss_and_gradient_of_the_model(config, B, T, rng):
    params = random_params(config)
    tokens, targets = text(rng, B, T, config)
    loss, grads = Model(config, params, xp=tinyllm_numpy).loss_and_grads(tokens, targets)
    found = batch_gradients(tinyllm_numpy, config, nest(params), tokens, targets)
    assert found.count == (targets != IGNORED).sum()
    assert found.loss_sum / found.count == pytest.approx(loss, rel=1e-13)
    assert list(found.grads) == list(grads)
    for name, grad in grads.items():
        np.testing.assert_allclose(found.grads[name] / found.count, grad, rtol=0, atol=1e-12)


def test_backends_agree(xp):
    tokens, targets = text(np.random.default_rng(0), 3, 4)
    found = batch_gradients(xp, CONFIG, tree_of(xp, PARAMS), tokens, targets)
    wanted = batch_gradients(tinyllm_numpy, CONFIG, nest(PARAMS), tokens, targets)
    assert found.loss_sum == pytest.approx(wanted.loss_sum, rel=1e-13)
    for name, grad in found.grads.items():
        np.testing.assert_allclose(xp.to_numpy(grad), wanted.grads[name], rtol=0, atol=1e-12)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), rngs)
def test_micro_batches_of_unequal_lengths_add_up_to_one_batch(lengths, rng):
    """Padded to one length, with targets that do not count behind the end, it is the same sum."""
    texts = [text(rng, 2, T) for T in lengths]
    longest = max(lengths)
    tokens, targets = np.zeros((2, 2 * len(texts), longest), np.int64)
    targets[:] = IGNORED
    for i, (t, wanted) in enumerate(texts):
        tokens[2 * i : 2 * i + 2, : t.shape[1]] = t
        targets[2 * i : 2 * i + 2, : t.shape[1]] = wanted
    tree = nest(PARAMS)
    parts = [batch_gradients(tinyllm_numpy, CONFIG, tree, *part) for part in texts]
    assert_same(added(parts), batch_gradients(tinyllm_numpy, CONFIG, tree, tokens, targets), 1e-10)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_not_a_bit_depends_on_the_number_of_workers(monkeypatch, dropout):
    from tinyllm_numpy import threads

    config = tiny_config(vocab_size=50, d_model=32, d_ff=40)
    params = nest(random_params(config, dtype=np.float32))
    tokens, targets = text(np.random.default_rng(0), 5, 7, config)
    found, before = [], [library.get_num_threads() for library in threads._blas()]
    for workers in (1, 2):
        monkeypatch.setattr(threads, "_workers", lambda n=workers: n)
        threads._pool.cache_clear()
        for library in threads._blas():
            library.set_num_threads(workers)
        found.append(
            batch_gradients(
                tinyllm_numpy, config, params, tokens, targets, seed=(4, 2), dropout=dropout
            )
        )
    threads._pool.cache_clear()
    for library, number in zip(threads._blas(), before):
        library.set_num_threads(number)
    assert_same(found[0], found[1])


@pytest.mark.parametrize(("piece", "sizes"), [(1, [1] * 5), (8, [2, 1, 2]), (999, [3, 2])])
def test_only_a_few_tokens_are_in_work_at_once(monkeypatch, piece, sizes):
    from tinyllm.training import gradients

    plain, seen = gradients.gradients_at_once, []

    def noting(xp, config, p, tokens, *rest, **options):
        seen.append((int(tokens[0, 0]), len(tokens)))
        return plain(xp, config, p, tokens, *rest, **options)

    tokens, targets = text(np.random.default_rng(0), 5, 4)
    tokens[:, 0] = np.arange(5)
    whole = batch_gradients(tinyllm_numpy, CONFIG, nest(PARAMS), tokens, targets)
    monkeypatch.setattr(gradients, "PIECE", piece)
    monkeypatch.setattr(gradients, "gradients_at_once", noting)
    found = batch_gradients(tinyllm_numpy, CONFIG, nest(PARAMS), tokens, targets)
    assert [size for _, size in sorted(seen)] == sizes
    assert_same(found, whole, 1e-12)


def test_both_halves_are_at_work_at_once(monkeypatch):
    from tinyllm.training import gradients
    from tinyllm_numpy import threads

    monkeypatch.setattr(threads, "_workers", lambda: 2)
    threads._pool.cache_clear()
    both = threading.Barrier(2)
    plain = gradients.gradients_at_once

    def meeting(*arguments, **options):
        both.wait(timeout=10)  # passes only where two run at once
        return plain(*arguments, **options)

    monkeypatch.setattr(gradients, "gradients_at_once", meeting)
    batch_gradients(tinyllm_numpy, CONFIG, nest(PARAMS), *text(np.random.default_rng(0), 2, 3))
    threads._pool.cache_clear()


def test_the_seed_says_what_is_dropped_in_each_half():
    tokens, targets = np.ones((2, 2, 5), np.int64)  # two equal rows

    def loss(seed, rows=slice(None)):
        return batch_gradients(
            tinyllm_numpy, CONFIG, nest(PARAMS), tokens[rows], targets[rows],
            seed=seed, dropout=0.5,
        ).loss_sum  # fmt: skip

    assert loss((1, 0)) == loss((1, 0))
    assert loss((1, 0)) != loss((1, 1))
    assert loss((1, 0)) != pytest.approx(2 * loss((1, 0), slice(0, 1)), rel=1e-6)


def test_a_batch_without_a_target_that_counts_says_nothing():
    tokens = np.ones((2, 3), np.int64)
    found = batch_gradients(
        tinyllm_numpy, CONFIG, nest(PARAMS), tokens, np.full_like(tokens, IGNORED)
    )
    assert (found.loss_sum, found.count) == (0.0, 0)
    assert not any(grad.any() for grad in found.grads.values())


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(1, 6),
    st.sampled_from([{}, {"label_smoothing": 0.2, "z_loss": 0.3}]),
    rngs,
)
def test_the_sum_is_the_mean_times_the_count(xp, lead, V, options, rng):
    logits, targets = rng.standard_normal((*lead, V)), rng.integers(0, V, lead)
    targets[rng.random(lead) < 0.3] = IGNORED
    targets.flat[0] = 0
    n = (targets != IGNORED).sum()
    loss, dlogits = summed_cross_entropy(xp, xp.asarray(logits), xp.asarray(targets), **options)
    mean, saved = cross_entropy_forward(xp, xp.asarray(logits), xp.asarray(targets), **options)
    wanted, _ = cross_entropy_backward(xp, xp.ones_like(mean), saved)
    assert float(loss) == pytest.approx(n * float(mean), rel=1e-13)
    np.testing.assert_allclose(xp.to_numpy(dlogits), n * xp.to_numpy(wanted), atol=1e-14)
