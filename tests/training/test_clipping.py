"""tinyllm.training.clipping, schedules and averaging"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tinyllm.training.averaging import start_average, update_average
from tinyllm.training.clipping import clip_by_global_norm, clip_factor, global_norm, scaled
from tinyllm.training.schedules import SCHEDULES, constant, cosine, linear, noam


def draw(rng, dtype=np.float64):
    return {
        "a": rng.standard_normal((5, 3)).astype(dtype),
        "b": rng.standard_normal(7).astype(dtype),
    }


@given(rngs)
def test_the_norm_is_that_of_all_numbers_in_a_row(xp, rng):
    grads = draw(rng)
    wanted = np.linalg.norm(np.concatenate([g.ravel() for g in grads.values()]))
    assert global_norm(xp, {k: xp.asarray(g) for k, g in grads.items()}) == pytest.approx(
        wanted, rel=1e-13
    )


def test_the_norm_of_huge_and_of_many_numbers_is_exact():
    assert global_norm(tinyllm_numpy, {"a": np.full(4, 1e30, np.float32)}) == pytest.approx(2e30)
    many = {"a": np.full((1000, 300), 0.1, np.float32)}
    assert global_norm(tinyllm_numpy, many) == pytest.approx(math.sqrt(3e5) * 0.1, rel=1e-7)
    assert math.isnan(global_norm(tinyllm_numpy, {"a": np.array([1.0, np.nan])}))


@given(rngs, st.floats(0.01, 20))
def test_clipping_leaves_the_direction_and_at_most_the_length(rng, most):
    grads = draw(rng)
    clipped, norm = clip_by_global_norm(tinyllm_numpy, grads, most)
    after = global_norm(tinyllm_numpy, clipped)
    assert after == pytest.approx(min(norm, most), rel=1e-5)
    for name, g in grads.items():
        np.testing.assert_allclose(clipped[name] * norm, g * after, atol=1e-12)
    if norm <= most:
        assert clipped["a"] is grads["a"] or norm > most - 1e-6


def test_scaling_keeps_the_dtype_and_the_argument(xp):
    grads = {k: xp.asarray(g) for k, g in draw(np.random.default_rng(0), np.float32).items()}
    half = scaled(xp, grads, 0.5)
    for name, g in grads.items():
        assert half[name].dtype == xp.float32
        np.testing.assert_array_equal(2 * xp.to_numpy(half[name]), xp.to_numpy(g))
    assert scaled(xp, grads, 1.0) is grads


@pytest.mark.parity
@pytest.mark.parametrize("most", [0.5, 3.0, 100.0])
def test_clipping_is_pytorchs(most):
    torch = pytest.importorskip("torch")
    grads = draw(np.random.default_rng(0))
    tensors = [
        torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in grads.values()
    ]
    for tensor, g in zip(tensors, grads.values()):
        tensor.grad = torch.tensor(g)
    theirs = torch.nn.utils.clip_grad_norm_(tensors, most)
    clipped, norm = clip_by_global_norm(tinyllm_numpy, grads, most)
    assert norm == pytest.approx(float(theirs), rel=1e-13)
    for tensor, g in zip(tensors, clipped.values()):
        np.testing.assert_allclose(g, tensor.grad.numpy(), rtol=0, atol=1e-13)
    assert clip_factor(0.0, 1.0) == 1.0


# Schedules

RUN = {"peak": 2.0, "warmup": 10, "steps": 110, "floor": 0.1}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rate_rises_in_a_line_to_its_peak(name):
    rates = [SCHEDULES[name](step, **RUN) for step in range(1, 12)]
    np.testing.assert_allclose(rates[:10], 0.2 * np.arange(1, 11))
    assert max(rates) == 2.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rate_is_never_nothing_and_never_above_its_peak(name):
    for warmup in (0, 1, 10, 500):
        for step in (1, 2, 50, 110, 111, 10**6):
            assert 0 < SCHEDULES[name](step, **{**RUN, "warmup": warmup}) <= 2.0


def test_rates_behind_the_peak():
    assert [constant(step, **RUN) for step in (10, 60, 110)] == [2.0, 2.0, 2.0]
    assert [linear(step, **RUN) for step in (10, 60, 110)] == pytest.approx([2.0, 1.1, 0.2])
    assert [cosine(step, **RUN) for step in (10, 60, 110)] == pytest.approx([2.0, 1.1, 0.2])
    quarter = 0.2 + 1.8 * (1 + math.cos(math.pi / 4)) / 2
    assert cosine(35, **RUN) == pytest.approx(quarter)
    assert [cosine(200, **RUN), linear(200, **RUN)] == pytest.approx([0.2, 0.2])
    assert [noam(step, **RUN) for step in (10, 40, 90)] == pytest.approx([2.0, 1.0, 2 / 3])


def test_noam_is_the_papers_formula():
    d_model, warmup = 512, 4000
    for step in (1, 100, 4000, 4001, 100_000):
        paper = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        peak = (d_model * warmup) ** -0.5
        assert noam(step, **{**RUN, "peak": peak, "warmup": warmup}) == pytest.approx(paper)


# Averaging


@given(rngs, st.integers(1, 6))
def test_without_forgetting_it_is_the_mean(xp, rng, count):
    seen = [draw(rng) for _ in range(count)]
    average = start_average({k: xp.asarray(p) for k, p in seen[0].items()})
    for params in seen[1:]:
        update_average(xp, average, {k: xp.asarray(p) for k, p in params.items()})
    for name in seen[0]:
        wanted = np.mean([params[name] for params in seen], axis=0)
        np.testing.assert_allclose(xp.to_numpy(average["params"][name]), wanted, atol=1e-14)


def test_with_forgetting_it_is_a_mean_first_and_decays_then():
    average = start_average({"p": np.array(1.0)})
    for value in (2.0, 3.0, 10.0):
        update_average(tinyllm_numpy, average, {"p": np.array(value)}, decay=0.7)
    assert average["params"]["p"] == pytest.approx(0.7 * 2.0 + 0.3 * 10.0)
