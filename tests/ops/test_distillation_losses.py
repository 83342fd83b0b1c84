"""tinyllm.ops.distillation and tinyllm.ops.low_rank"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import check_pair, rngs, scales, sizes
from tinyllm.ops.distillation import (
    kl_backward,
    kl_forward,
    mean_square_backward,
    mean_square_forward,
    reverse_kl_backward,
    reverse_kl_forward,
)
from tinyllm.ops.linear import linear_forward
from tinyllm.ops.low_rank import low_rank_backward, low_rank_forward

KL, REVERSE = (kl_forward, kl_backward), (reverse_kl_forward, reverse_kl_backward)
temperatures = st.sampled_from([0.5, 1.0, 2.0])


@given(sizes, sizes, st.integers(2, 5), temperatures, st.sampled_from([KL, REVERSE]), rngs)
def test_divergences(xp, B, T, V, temperature, pair, rng):
    logits, teacher = rng.standard_normal((2, B, T, V))

    def forward(xp, logits, *, teacher, temperature):
        return pair[0](xp, logits, xp.asarray(teacher), temperature=temperature)

    forward.__doc__ = "logits (..., V) -> loss (...)"
    options = {"teacher": teacher, "temperature": temperature}
    check_pair(xp, forward, lambda xp, dy, s: pair[1](xp, dy, s)[0], logits, rng=rng, **options)


@given(sizes, st.integers(2, 5), temperatures, scales, st.sampled_from([KL, REVERSE]), rngs)
def test_a_divergence_is_the_formula_and_never_below_zero(T, V, temperature, scale, pair, rng):
    logits, teacher = scale * rng.standard_normal((2, T, V))
    loss, _ = pair[0](tinyllm_numpy, logits, teacher, temperature=temperature)
    z, other = (teacher, logits) if pair is KL else (logits, teacher)
    p, q = (np.exp(x / temperature - x.max(-1, keepdims=True) / temperature) for x in (z, other))
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(p > 0, p * np.log(p / q), 0.0).sum(-1)
    finite = np.isfinite(expected)
    np.testing.assert_allclose(loss[finite], expected[finite], rtol=1e-9, atol=1e-13)
    assert (loss > -1e-12).all()


@pytest.mark.parametrize("pair", [KL, REVERSE])
def test_equal_up_to_a_constant_is_no_divergence_and_no_gradient(xp, pair):
    teacher = np.random.default_rng(0).standard_normal((3, 5))
    loss, saved = pair[0](xp, xp.asarray(teacher + 7.0), xp.asarray(teacher))
    dlogits, nothing = pair[1](xp, xp.ones_like(loss), saved)
    assert nothing is None
    np.testing.assert_allclose(xp.to_numpy(loss), 0.0, atol=1e-14)
    np.testing.assert_allclose(xp.to_numpy(dlogits), 0.0, atol=1e-14)


def test_the_two_divergences_are_each_other_turned_round(xp):
    a, b = (xp.asarray(x) for x in np.random.default_rng(0).standard_normal((2, 3, 5)))
    np.testing.assert_array_equal(
        xp.to_numpy(kl_forward(xp, a, b)[0]), xp.to_numpy(reverse_kl_forward(xp, b, a)[0])
    )


def test_logits_that_exponentials_overflow_with_are_no_harm(xp):
    logits, teacher = (xp.asarray(np.array([x])) for x in ([1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]))
    for forward, backward in (KL, REVERSE):
        loss, saved = forward(xp, logits, teacher)
        assert float(loss[0]) == pytest.approx(2e4)
        assert np.isfinite(xp.to_numpy(backward(xp, xp.ones_like(loss), saved)[0])).all()


@given(sizes, sizes, rngs)
def test_mean_square(xp, T, D, rng):
    x, target = rng.standard_normal((2, T, D))

    def forward(xp, x, *, target):
        return mean_square_forward(xp, x, xp.asarray(target))

    forward.__doc__ = "x (..., D) -> loss (...)"
    backward = lambda xp, dy, s: mean_square_backward(xp, dy, s)[0]
    check_pair(xp, forward, backward, x, rng=rng, target=target)
    loss, _ = mean_square_forward(xp, xp.asarray(x), xp.asarray(target))
    np.testing.assert_allclose(xp.to_numpy(loss), ((x - target) ** 2).mean(-1), rtol=1e-12)


@given(sizes, sizes, sizes, sizes, sizes, rngs)
def test_low_rank(xp, B, T, C, D, r, rng):
    x, a, b = (rng.standard_normal(shape) for shape in ((B, T, C), (r, C), (D, r)))
    check_pair(xp, low_rank_forward, low_rank_backward, x, a, b, rng=rng, scale=0.5)
    y, _ = low_rank_forward(xp, *map(xp.asarray, (x, a, b)), scale=0.5)
    expected, _ = linear_forward(xp, xp.asarray(x), xp.asarray(0.5 * b @ a))
    np.testing.assert_allclose(xp.to_numpy(y), xp.to_numpy(expected), rtol=0, atol=1e-12)
