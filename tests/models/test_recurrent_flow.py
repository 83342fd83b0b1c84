"""tinyllm.models.recurrent_flow: the formulas against differences, and against the network."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.models.recurrent_flow import (
    forget_gate_flow,
    gradient_flow,
    growth_bound,
    scalar_flow,
)
from tinyllm.ops import recurrent
from tinyllm.ops.recurrent import recurrent_forward

T, C, D = 5, 2, 3
CELLS = {name: cell for name, cell in vars(recurrent).items() if isinstance(cell, recurrent.Cell)}
SQUASH = {
    "tanh": (math.tanh, lambda a: 1 - math.tanh(a) ** 2),
    "logistic": (
        lambda a: 1 / (1 + math.exp(-a)),
        lambda a: math.exp(-a) / (1 + math.exp(-a)) ** 2,
    ),
}


def network(rng, cell, scale=0.7):
    G, S = cell.gates * D, cell.parts * D
    return [scale * rng.standard_normal(s) for s in ((T, C), (S,), (G, C), (G, D), (G,), (G,))]


@pytest.mark.parametrize("name", SQUASH)
@given(st.floats(-2, 2), st.floats(-1, 1), st.integers(0, 9))
def test_the_scalar_formula_is_the_derivative(name, weight, start, steps):
    squash, slope = SQUASH[name]

    def end(h):
        for _ in range(steps):
            h = squash(weight * h)
        return h

    flow = scalar_flow(squash, slope, weight=weight, start=start, steps=steps)
    step = 1e-6
    numeric = (end(start + step) - end(start - step)) / (2 * step)
    assert len(flow) == steps + 1
    assert flow[0] == 1.0
    assert flow[-1] == pytest.approx(numeric, rel=1e-4, abs=1e-8 * max(map(abs, flow)))


@pytest.mark.parametrize("name", [name for name in CELLS if name != "RELU"])
@settings(max_examples=5)
@given(rngs)
def test_the_flow_is_that_of_central_differences(xp, name, rng):
    """Every entry of the inputs and of the first state moves, in one row of a batch each."""
    cell, (x, state, *weights) = CELLS[name], network(rng, CELLS[name])
    weights = [xp.asarray(w) for w in weights]
    inputs, states = gradient_flow(xp, xp.asarray(x), xp.asarray(state), *weights, cell=cell)
    assert (len(inputs), len(states), states[0]) == (T, T + 1, 1.0)

    together = np.concatenate([x.ravel(), state])
    steps = 1e-5 * np.concatenate([np.eye(together.size), -np.eye(together.size)])
    rows = together + steps
    xs, starts = rows[:, : x.size].reshape(-1, T, C), rows[:, x.size :]
    y, _ = recurrent_forward(xp, xp.asarray(xs), xp.asarray(starts), *weights, cell=cell)
    plus, minus = np.split(xp.to_numpy(y)[:, -1, :D], 2)
    jacobian = (plus - minus).T / 2e-5  # (D, T C + S)
    dx = jacobian[:, : x.size].reshape(D, T, C)
    expected = [np.linalg.norm(dx[:, T - 1 - k], 2) for k in range(T)]
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-8)
    assert states[-1] == pytest.approx(np.linalg.norm(jacobian[:, x.size :], 2), rel=1e-5)


def test_units_that_are_on_pass_all_on_and_units_that_are_off_nothing(xp):
    one, zero = xp.asarray(np.eye(D)), xp.asarray(np.zeros(D))
    for sign, expected in ((1.0, 1.0), (-1.0, 0.0)):
        x = xp.asarray(sign * np.ones((T, D)))
        inputs, states = gradient_flow(xp, x, zero, one, one, cell=recurrent.RELU)
        np.testing.assert_array_equal(inputs, [expected] * T)
        np.testing.assert_array_equal(states, [1.0] + [expected] * T)


@pytest.mark.parametrize("name", ["LSTM", "LINEAR_CANDIDATE_LSTM"])
@settings(max_examples=5)
@given(rngs)
def test_without_recurrent_weights_the_gates_are_the_whole_jacobian(xp, name, rng):
    """Then ∂c_T/∂c_0 is Π σ(f), a diagonal matrix, in both kinds of LSTM, exactly."""
    cell, (x, state, *weights) = CELLS[name], network(rng, CELLS[name])
    weights[1] = np.zeros_like(weights[1])
    arrays = [xp.asarray(a) for a in (x[None], state[None], *weights)]
    _, (*_, kept) = recurrent_forward(xp, *arrays, cell=cell)
    jacobian = xp.asarray(np.eye(2 * D)[D:])  # ∂c_T/∂s_T
    for s_step in reversed(kept):
        _, _, jacobian = recurrent.step_gradient(xp, jacobian, s_step, arrays[3], cell)
    forget = np.stack([xp.to_numpy(s_step[1])[0] for s_step in kept])
    flow = forget_gate_flow(forget)
    assert flow.shape == (T + 1, D)
    expected = np.concatenate([np.zeros((D, D)), np.diag(flow[-1])], axis=1)
    np.testing.assert_allclose(xp.to_numpy(jacobian), expected, atol=1e-15)
    np.testing.assert_array_equal(flow[0], 1)
    np.testing.assert_allclose(flow[2], forget[-1] * forget[-2])


@given(st.floats(0.1, 0.99), rngs)
def test_below_the_bound_a_gradient_vanishes_at_least_as_fast(xp, gain, rng):
    x, state, weight_ih, weight_hh, *biases = network(rng, recurrent.TANH)
    weight_hh = gain * weight_hh / np.linalg.norm(weight_hh, 2)
    assert growth_bound(weight_hh) == pytest.approx(gain)
    assert growth_bound(weight_hh, 0.25) == pytest.approx(gain / 4)
    arrays = [xp.asarray(a) for a in (x, state, weight_ih, weight_hh, *biases)]
    _, states = gradient_flow(xp, *arrays, cell=recurrent.TANH)
    assert (states <= gain ** np.arange(T + 1) * (1 + 1e-12)).all()
