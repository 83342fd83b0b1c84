"""tinyllm.ops.routing: who is chosen, and with what weight."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import rngs, sizes
from tinyllm.ops.routing import Routing, choose_experts, expert_weights_forward


def routing(k, **options):
    return Routing(**{"k": k, "renormalise": True, **options})


def choose(xp, scores, how):
    return xp.to_numpy(choose_experts(xp, xp.asarray(scores), how))


def weights(xp, scores, ids, **options):
    given = xp.asarray(scores), xp.asarray(ids)
    return xp.to_numpy(expert_weights_forward(xp, *given, **options)[0])


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@settings(max_examples=10)
@given(sizes, st.integers(1, 8), st.data(), rngs)
def test_the_best_are_chosen_and_of_equals_the_lowest_number(xp, N, E, data, rng):
    k = data.draw(st.integers(1, E))
    scores = rng.integers(0, 3, (N, E)).astype(np.float64)
    best = [sorted(range(E), key=lambda e: (-row[e], e))[:k] for row in scores]
    assert choose(xp, scores, routing(k)).tolist() == best


@settings(max_examples=10)
@given(sizes, st.sampled_from([(1, 4), (2, 3), (3, 2), (4, 2)]), st.data(), rngs)
def test_only_experts_of_the_best_groups_are_chosen(xp, N, sizes, data, rng):
    groups, size = sizes
    kept = data.draw(st.integers(1, groups))
    k = data.draw(st.integers(1, kept * size))
    scores = rng.standard_normal((N, groups * size))
    ids = choose(xp, scores, routing(k, groups=groups, groups_kept=kept))
    for row, chosen in zip(scores, ids):
        best = row.reshape(groups, size).max(-1)
        open_groups = np.argsort(-best)[:kept]
        allowed = [e for e in range(groups * size) if e // size in open_groups]
        assert chosen.tolist() == sorted(allowed, key=lambda e: -row[e])[:k]


@settings(max_examples=10)
@given(sizes, sizes, rngs)
def test_with_all_groups_open_the_groups_do_not_matter(xp, N, k, rng):
    scores = rng.standard_normal((N, 6))
    grouped = choose(xp, scores, routing(k, groups=3, groups_kept=3))
    assert np.array_equal(grouped, choose(xp, scores, routing(k)))


@settings(max_examples=10)
@given(sizes, st.integers(2, 6), st.data(), rngs)
def test_weights_are_those_of_the_two_papers(xp, N, E, data, rng):
    k, scores = data.draw(st.integers(1, E)), rng.standard_normal((N, E))
    ids = choose(xp, scores, routing(k))
    chosen = np.take_along_axis(scores, ids, -1)
    mixtral = weights(xp, scores, ids, renormalise=True)
    np.testing.assert_allclose(mixtral, softmax(chosen), rtol=1e-13)
    deepseek = weights(xp, scores, ids, renormalise=False, scale=16.0)
    expected = 16.0 * np.take_along_axis(softmax(scores), ids, -1)
    np.testing.assert_allclose(deepseek, expected, rtol=1e-13)
    assert k == E or (deepseek.sum(-1) < 16.0).all()


@pytest.mark.parametrize("renormalise", [True, False])
def test_all_experts_are_the_whole_softmax(xp, renormalise):
    scores = np.random.default_rng(0).standard_normal((3, 5))
    ids = choose(xp, scores, routing(5))
    given = weights(xp, scores, ids, renormalise=renormalise)
    np.testing.assert_allclose(given, np.take_along_axis(softmax(scores), ids, -1), rtol=1e-13)


@settings(max_examples=10)
@given(sizes, st.integers(1, 5), st.floats(-50, 50), rngs)
def test_a_constant_added_to_all_scores_changes_no_weight(xp, N, E, shift, rng):
    scores = rng.standard_normal((N, E))
    ids = choose(xp, scores, routing(1))
    before, after = (weights(xp, z, ids, renormalise=False) for z in (scores, scores + shift))
    np.testing.assert_allclose(after, before, rtol=1e-12)
