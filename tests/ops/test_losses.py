"""tinyllm.ops.losses"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, sizes
from tinyllm.errors import UsageError
from tinyllm.ops.losses import cross_entropy_backward, cross_entropy_forward


def loss_of(xp, logits, targets, **options):
    loss, _ = cross_entropy_forward(xp, xp.asarray(logits), xp.asarray(targets), **options)
    return float(loss)


smoothings, z_losses = st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([0.0, 0.1, 2.0])


@given(sizes, sizes, sizes, smoothings, z_losses, rngs)
def test_cross_entropy(xp, B, T, V, label_smoothing, z_loss, rng):
    targets = rng.integers(0, V, (B, T))
    targets[rng.random((B, T)) < 0.3] = -100
    targets[0, 0] = 0  # at least one counts
    pair = cross_entropy_forward, cross_entropy_backward
    logits, options = rng.standard_normal((B, T, V)), {"label_smoothing": label_smoothing}
    check_pair(xp, *pair, logits, targets, rng=rng, z_loss=z_loss, **options)


@given(sizes, st.sampled_from([0.0, 0.2]), st.sampled_from([0.0, 0.3]), rngs)
def test_the_loss_is_the_formula(xp, V, a, c, rng):
    logits, targets = rng.standard_normal((4, V)), np.array([0, V - 1, -100, 0])
    lse = np.log(np.exp(logits).sum(-1))
    q = (1 - a) * np.eye(V)[targets % V] + a / V
    expected = np.mean([lse[i] - (q[i] * logits[i]).sum() + c * lse[i] ** 2 for i in (0, 1, 3)])
    loss = loss_of(xp, logits, targets, label_smoothing=a, z_loss=c)
    assert loss == pytest.approx(expected, rel=1e-12)


def test_the_z_loss_is_least_where_the_exponentials_add_up_to_one(xp):
    logits, targets = np.random.default_rng(0).standard_normal((3, 4)), np.array([0, 3, -100])
    normal = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    plain = loss_of(xp, logits, targets)
    assert loss_of(xp, normal, targets, z_loss=5.0) == pytest.approx(plain)
    for shift in (-2.0, 3.0):
        shifted = normal + np.array([[shift], [shift], [100.0]])
        expected = plain + 5.0 * shift**2
        assert loss_of(xp, shifted, targets, z_loss=5.0) == pytest.approx(expected)


def test_a_token_that_cannot_come_and_a_huge_logit_are_no_harm_to_the_z_loss(xp):
    logits = xp.asarray(np.array([[-np.inf, 1000.0, 1000.0]]))
    loss, saved = cross_entropy_forward(xp, logits, xp.asarray(np.array([1])), z_loss=1e-4)
    log_z = 1000.0 + math.log(2)
    assert float(loss) == pytest.approx(math.log(2) + 1e-4 * log_z**2, rel=1e-12)
    dlogits, _ = cross_entropy_backward(xp, xp.asarray(1.0), saved)
    expected = [[0.0, 0.5 - 1 + 1e-4 * log_z, 0.5 + 1e-4 * log_z]]
    np.testing.assert_allclose(xp.to_numpy(dlogits), expected, rtol=1e-12)


@given(st.integers(1, 50))
def test_a_uniform_model_has_a_loss_of_log_v(xp, V):
    assert loss_of(xp, np.zeros((2, V)), np.array([0, V - 1])) == pytest.approx(math.log(V))


@given(rngs)
def test_ignored_rows_and_shifts_change_nothing(xp, rng):
    logits, targets = rng.standard_normal((5, 7)), rng.integers(0, 7, 5)
    targets[1:3] = -100
    loss = loss_of(xp, logits, targets)
    counted = targets != -100
    assert loss == pytest.approx(loss_of(xp, logits[counted], targets[counted]), rel=1e-14)
    assert loss == pytest.approx(loss_of(xp, logits + rng.standard_normal((5, 1)), targets))
    _, saved = cross_entropy_forward(xp, xp.asarray(logits), xp.asarray(targets))
    dlogits, _ = cross_entropy_backward(xp, xp.asarray(1.0), saved)
    assert not xp.to_numpy(dlogits)[~counted].any()
    np.testing.assert_allclose(xp.to_numpy(dlogits).sum(-1), 0, atol=1e-15)


def test_no_counted_target_is_an_error_not_nan(xp):
    with pytest.raises(UsageError, match="every one is -100"):
        loss_of(xp, np.zeros((2, 3)), np.array([-100, -100]))


@pytest.mark.parametrize("a", [-0.1, 1.0, math.nan])
def test_smoothing_outside_its_range_is_refused(xp, a):
    with pytest.raises(UsageError, match="label_smoothing"):
        loss_of(xp, np.zeros((2, 3)), np.array([0, 1]), label_smoothing=a)


@pytest.mark.parametrize("c", [-0.1, math.inf, math.nan])
def test_a_z_loss_outside_its_range_is_refused(xp, c):
    with pytest.raises(UsageError, match="z_loss"):
        loss_of(xp, np.zeros((2, 3)), np.array([0, 1]), z_loss=c)
