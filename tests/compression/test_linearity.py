"""tinyllm.compression.linearity"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.compression.linearity import (
    adjusted,
    block_influence,
    fit_linear_map,
    linearity_score,
    require_tokens,
)
from tinyllm.errors import UsageError

widths = st.integers(1, 5)


def draw(rng, D, C, N=40):
    x = rng.standard_normal((N, D)) @ rng.standard_normal((D, D))
    return x, np.tanh(x @ rng.standard_normal((D, C))) + 0.3 * rng.standard_normal((N, C))


def orthogonal(rng, C):
    return np.linalg.qr(rng.standard_normal((C, C)))[0]


@given(widths, widths, rngs)
def test_the_score_is_the_share_that_the_best_map_explains(D, C, rng):
    x, y = draw(rng, D, C)
    centred = y - y.mean(axis=0)
    rest = y - fit_linear_map(x, y)(x)
    expected = 1.0 - np.sum(rest**2) / np.sum(centred**2)
    assert linearity_score(x, y) == pytest.approx(expected, abs=1e-10)
    assert 0.0 <= linearity_score(x, y) <= 1.0 + 1e-12


@given(widths, widths, rngs)
def test_it_is_blind_to_where_x_lies_and_to_the_size_and_turn_of_y(D, C, rng):
    x, y = draw(rng, D, C)
    score = linearity_score(x, y)
    moved = x @ (orthogonal(rng, D) * np.exp(rng.standard_normal(D))) + rng.standard_normal(D)
    assert linearity_score(moved, y) == pytest.approx(score, abs=1e-9)
    turned = 7.0 * y @ orthogonal(rng, C) - rng.standard_normal(C)
    assert linearity_score(x, turned) == pytest.approx(score, abs=1e-10)


def test_it_is_not_blind_to_a_map_that_stretches_y():
    x, y = draw(np.random.default_rng(0), 3, 3)
    stretched = y * [100.0, 1.0, 1.0]
    assert abs(linearity_score(x, stretched) - linearity_score(x, y)) > 0.01


@given(widths, widths, rngs)
def test_a_linear_map_scores_1_and_more_columns_never_score_less(D, C, rng):
    x, y = draw(rng, D, C)
    assert linearity_score(x, x @ rng.standard_normal((D, C)) + 3.0) == pytest.approx(1.0)
    wider = np.concatenate([x, rng.standard_normal((len(x), 2))], axis=1)
    assert linearity_score(wider, y) >= linearity_score(x, y) - 1e-10


def test_a_constant_is_explained_by_anything():
    x = np.random.default_rng(0).standard_normal((9, 3))
    assert linearity_score(x, np.ones((9, 2))) == 1.0


def test_a_column_that_stands_twice_changes_nothing():
    x, y = draw(np.random.default_rng(1), 4, 3)
    twice = np.concatenate([x, x[:, :1]], axis=1)
    assert linearity_score(twice, y) == pytest.approx(linearity_score(x, y), abs=1e-10)


def test_what_chance_explains_is_known_and_taken_away():
    rng = np.random.default_rng(0)
    scores = [
        linearity_score(rng.standard_normal((200, 50)), rng.standard_normal((200, 50)))
        for _ in range(5)
    ]
    assert np.mean(scores) == pytest.approx(50 / 199, abs=0.01)
    assert np.mean([adjusted(score, 200, 50) for score in scores]) == pytest.approx(0, abs=0.015)
    assert adjusted(1.0, 200, 50) == 1.0


@given(widths, rngs)
def test_influence_is_between_0_and_2_and_blind_to_lengths(D, rng):
    x, y = rng.standard_normal((2, 9, D))
    found = block_influence(x, y)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(x, y)]
    assert found == pytest.approx(1 - np.mean(cosines))
    assert 0.0 <= found <= 2.0 + 1e-12
    assert block_influence(x, 3.0 * x) == pytest.approx(0.0, abs=1e-12)
    assert block_influence(x, -x) == pytest.approx(2.0)


def test_a_map_equals_least_squares_and_is_affine():
    x, y = draw(np.random.default_rng(2), 4, 3)
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    expected = ones @ np.linalg.lstsq(ones, y, rcond=None)[0]
    np.testing.assert_allclose(fit_linear_map(x, y)(x), expected, atol=1e-10)
    np.testing.assert_allclose(fit_linear_map(x, x @ x.T[:, :4] + 1)(x[:2]), x[:2] @ x.T[:, :4] + 1)


def test_what_cannot_be_scored_is_one_line():
    x = np.random.default_rng(0).standard_normal((9, 3))
    with pytest.raises(UsageError, match=r"4 tokens are too few for 3 features.*at least 5"):
        linearity_score(x[:4], x[:4])
    with pytest.raises(UsageError, match=r"31 tokens are too few for 3 features.*at least 32"):
        require_tokens(31, 3)
    with pytest.raises(UsageError, match="zero, and has no direction"):
        block_influence(x, np.zeros((9, 3)))
