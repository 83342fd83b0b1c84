"""tinyllm.inference.sampling"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.errors import TinyllmError, UsageError
from tinyllm.inference.sampling import Sampling, candidates, choose_token, penalised_scores

scores_with_ties = st.lists(st.integers(-8, 8).map(float), min_size=1, max_size=30).map(np.array)


def off(**options):
    """Everything turned off but what is given."""
    return Sampling(**{"temperature": 1.0, "top_p": 1.0, **options})


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


@given(scores_with_ties, st.integers(1, 40))
def test_top_k_keeps_exactly_the_k_highest_and_of_equals_the_lowest_ids(scores, k):
    ids, probs = candidates(scores, off(top_k=k))
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    assert ids.tolist() == sorted(expected)
    assert probs.sum() == pytest.approx(1.0)


@given(scores_with_ties, st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_reach_p(scores, p):
    ids, _ = candidates(scores, off(top_p=p))
    probs = softmax(scores)
    order = sorted(range(len(scores)), key=lambda i: (-probs[i], i))
    mass = probs[ids].sum()
    assert mass >= p - 1e-12
    assert mass - probs[ids].min() < p + 1e-12  # one fewer would not reach it
    assert ids.tolist() == sorted(order[: len(ids)])


@given(scores_with_ties, st.floats(0, 1))
def test_min_p_keeps_what_is_likely_enough(scores, min_p):
    ids, _ = candidates(scores, off(min_p=min_p))
    probs = softmax(scores)
    clear = np.abs(probs - min_p * probs.max()) > 1e-12
    kept = np.isin(np.arange(len(scores)), ids)
    assert (kept == (probs >= min_p * probs.max()))[clear].all()
    assert len(ids) >= 1


@given(
    scores_with_ties, st.integers(0, 40), st.floats(0.01, 1), st.floats(0, 1), st.floats(0.01, 100)
)
def test_filters_in_their_order_one_after_the_other(scores, k, p, min_p, temperature):
    options = {"top_k": k, "top_p": p, "min_p": min_p, "temperature": temperature}
    ids, probs = candidates(scores, Sampling(**options))
    assert len(ids) >= 1
    assert probs.sum() == pytest.approx(1.0)
    assert (np.diff(ids) > 0).all()
    kept, _ = candidates(scores / temperature, off(top_k=k))
    step = kept[candidates(scores[kept] / temperature, off(top_p=p))[0]]
    last = step[candidates(scores[step] / temperature, off(min_p=min_p))[0]]
    assert set(ids) == set(last) or p > 0.999 or np.abs(probs.min() / probs.max() - min_p) < 1e-9


def test_off_is_the_identity():
    scores = np.random.default_rng(0).standard_normal(50)
    ids, probs = candidates(scores, off())
    assert ids.tolist() == list(range(50))
    np.testing.assert_allclose(probs, softmax(scores), rtol=1e-14)


@given(scores_with_ties, rngs)
def test_temperature_zero_takes_the_highest_and_of_equals_the_lowest_id(scores, rng):
    token = choose_token(scores, [], Sampling(temperature=0), rng)
    assert token == min(range(len(scores)), key=lambda i: (-scores[i], i))


@given(scores_with_ties, rngs)
def test_a_tiny_temperature_is_nearly_zero_and_a_huge_one_nearly_uniform(scores, rng):
    cold = choose_token(scores, [], off(temperature=1e-8), rng)
    assert scores[cold] == scores.max()
    _, probs = candidates(scores, off(temperature=1e8))
    np.testing.assert_allclose(probs, 1 / len(scores), rtol=1e-6)


@pytest.mark.untraced
def test_draws_follow_the_distribution():
    """Pearson's chi-squared, 9 degrees of freedom: beyond 27.9 once in a thousand."""
    scores = np.random.default_rng(0).standard_normal(10)
    rng, n = np.random.default_rng(1), 5000
    drawn = np.bincount([choose_token(scores, [], off(), rng) for _ in range(n)], minlength=10)
    expected = n * softmax(scores)
    assert ((drawn - expected) ** 2 / expected).sum() < 27.9


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=10).map(np.array), st.floats(1, 10), rngs)
def test_a_penalty_never_raises_a_score_and_leaves_unseen_ones(scores, penalty, rng):
    seen = rng.integers(0, len(scores), 3).tolist()
    changed = penalised_scores(scores, seen, off(repetition_penalty=penalty))
    assert (changed <= scores).all()
    unseen = np.setdiff1d(np.arange(len(scores)), seen)
    assert (changed[unseen] == scores[unseen]).all()
    positive = np.intersect1d(seen, np.flatnonzero(scores > 0))
    np.testing.assert_allclose(changed[positive], scores[positive] / penalty)


def test_a_penalty_may_look_back_a_few_tokens_only():
    scores = np.ones(4)
    options = {"repetition_penalty": 2.0}
    assert penalised_scores(scores, [0, 1, 2], off(**options)).tolist() == [0.5, 0.5, 0.5, 1]
    last_two = off(**options, repeat_last_n=2)
    assert penalised_scores(scores, [0, 1, 2], last_two).tolist() == [1, 0.5, 0.5, 1]
    assert penalised_scores(scores, [0, 1], off(**options, repeat_last_n=0)).tolist() == [1] * 4
    assert scores.tolist() == [1] * 4


def test_a_bias_is_added_first_and_may_forbid():
    rng = np.random.default_rng(0)
    forbid = Sampling(temperature=0, logit_bias={2: -math.inf})
    assert choose_token(np.array([0.0, 1.0, 2.0]), [], forbid, rng) == 1
    both = off(logit_bias={0: 3.0}, repetition_penalty=2.0)
    assert penalised_scores(np.array([1.0, 1.0]), [0], both).tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": -1}, "temperature is -1, expected at least 0"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0}, "top_p is 0, expected above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_p": math.nan}, "top_p is nan"),
        ({"min_p": 1.1}, "min_p is 1.1"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"repetition_penalty": -1}, "repetition_penalty is -1"),
        ({"repeat_last_n": -1}, "repeat_last_n is -1"),
        ({"logit_bias": {3: math.nan}}, "logit_bias of token 3 is nan"),
    ],
)
def test_a_number_out_of_range_is_refused(options, says):
    with pytest.raises(UsageError) as error:
        Sampling(**options)
    assert says in str(error.value)


def test_a_bias_on_a_token_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="token 9, expected 0 to 2"):
        penalised_scores(np.zeros(3), [], off(logit_bias={9: 1.0}))


@pytest.mark.parametrize("temperature", [0, 1])
def test_nan_and_all_forbidden_are_errors(temperature):
    rng = np.random.default_rng(0)
    with pytest.raises(TinyllmError, match="NaN"):
        choose_token(np.array([1.0, np.nan]), [], off(temperature=temperature), rng)
    with pytest.raises(TinyllmError, match="no token may be chosen"):
        choose_token(np.array([-np.inf, -np.inf]), [], off(temperature=temperature), rng)
