"""tinyllm.ops.recurrent: every cell's gradient, and what is true of all or of some"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import check_pair, rngs, sizes
from tinyllm.ops import recurrent
from tinyllm.ops.recurrent import recurrent_backward, recurrent_forward

CELLS = {name: cell for name, cell in vars(recurrent).items() if isinstance(cell, recurrent.Cell)}
SMOOTH = [name for name in CELLS if name != "RELU"]
GATED = ["LSTM", "LINEAR_CANDIDATE_LSTM"]


def drawn(rng, cell, B=2, T=4, C=3, D=3, biased=True):
    """Random arguments: x, state, weights, biases."""
    G, S = cell.gates * D, cell.parts * D
    biases = [rng.standard_normal(G) if biased else None for _ in range(2)]
    return [rng.standard_normal(s) for s in ((B, T, C), (B, S), (G, C), (G, D))] + biases


def run(xp, arrays, cell):
    given = [None if a is None else xp.asarray(a) for a in arrays]
    y, saved = recurrent_forward(xp, *given, cell=cell)
    return xp.to_numpy(y), saved


@pytest.mark.parametrize("name", SMOOTH)
@settings(max_examples=8)
@given(sizes, sizes, sizes, sizes, st.booleans(), rngs)
def test_the_gradient_of_every_argument(xp, name, B, T, C, D, biased, rng):
    arrays = drawn(rng, CELLS[name], B, T, C, D, biased)
    check_pair(xp, recurrent_forward, recurrent_backward, *arrays, rng=rng, cell=CELLS[name])


@settings(max_examples=15)
@given(sizes, sizes, rngs)
def test_the_gradient_of_relu_away_from_its_kink(xp, T, D, rng):
    """Positive weights and inputs keep every unit on, negative ones off."""
    arrays = [np.abs(a) for a in drawn(rng, recurrent.RELU, T=T, D=D)]
    off = np.arange(D) % 2 == 1
    for i in (2, 4):
        arrays[i][off] *= -100
    arrays[3][off] = 0
    options = {"rng": rng, "cell": recurrent.RELU}
    check_pair(xp, recurrent_forward, recurrent_backward, *arrays, **options)


@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=10)
@given(st.integers(2, 6), rngs)
def test_two_halves_with_the_state_carried_over_are_one_run(xp, name, T, rng):
    arrays = drawn(rng, CELLS[name], T=T)
    whole, _ = run(xp, arrays, CELLS[name])
    cut = int(rng.integers(1, T))
    first, _ = run(xp, [arrays[0][:, :cut], *arrays[1:]], CELLS[name])
    second, _ = run(xp, [arrays[0][:, cut:], first[:, -1], *arrays[2:]], CELLS[name])
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-14)


@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=5)
@given(st.integers(2, 6), rngs)
def test_the_gradient_of_two_halves_is_that_of_one_run(xp, name, T, rng):
    """Whoever hands the gradient of the state on loses nothing; who drops it truncates."""
    cell, arrays = CELLS[name], drawn(rng, CELLS[name], T=T)
    whole, saved = run(xp, arrays, cell)
    dy = rng.standard_normal(whole.shape)
    dx, ds, *dweights = recurrent_backward(xp, xp.asarray(dy), saved)
    cut = int(rng.integers(1, T))
    first, s_first = run(xp, [arrays[0][:, :cut], *arrays[1:]], cell)
    _, s_second = run(xp, [arrays[0][:, cut:], first[:, -1], *arrays[2:]], cell)
    dx2, ds2, *dweights2 = recurrent_backward(xp, xp.asarray(dy[:, cut:].copy()), s_second)
    dy_first = dy[:, :cut].copy()
    dy_first[:, -1] += xp.to_numpy(ds2)
    dx1, ds1, *dweights1 = recurrent_backward(xp, xp.asarray(dy_first), s_first)
    pairs = [
        (ds1, ds),
        *((xp.asarray(a + b), c) for a, b, c in zip(dweights1, dweights2, dweights)),
    ]
    for got, wanted in [*pairs, (xp.concat([dx1, dx2], axis=1), dx)]:
        np.testing.assert_allclose(xp.to_numpy(got), xp.to_numpy(wanted), atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
@given(st.integers(2, 6), rngs)
def test_a_later_input_changes_no_earlier_state(xp, name, T, rng):
    arrays, t = drawn(rng, CELLS[name], T=T), int(rng.integers(1, T))
    before, _ = run(xp, arrays, CELLS[name])
    arrays[0] = arrays[0].copy()
    arrays[0][:, t:] += 1.0
    after, _ = run(xp, arrays, CELLS[name])
    np.testing.assert_array_equal(after[:, :t], before[:, :t])
    assert (after[:, t] != before[:, t]).any() or name == "RELU"  # all its units may be off


@pytest.mark.parametrize("name", CELLS)
def test_the_steps_of_one_run_are_runs_of_one_step(xp, name):
    """Another order of sums may differ in the last place; no step sees another row of the batch."""
    rng = np.random.default_rng(0)
    arrays = drawn(rng, CELLS[name], B=3, T=4)
    whole, _ = run(xp, arrays, CELLS[name])
    state = arrays[1][1:2]
    for t in range(4):
        step, _ = run(xp, [arrays[0][1:2, t : t + 1], state, *arrays[2:]], CELLS[name])
        state = step[:, 0]
        np.testing.assert_allclose(state, whole[1:2, t], atol=1e-14)


@pytest.mark.parametrize("name", CELLS)
def test_no_input_leaves_no_states_and_no_gradient(xp, name):
    arrays = drawn(np.random.default_rng(0), CELLS[name], T=0)
    assert run(xp, arrays, CELLS[name])[0].shape == (2, 0, CELLS[name].parts * 3)


@pytest.mark.parametrize("name", ["TANH", "LSTM", "LINEAR_CANDIDATE_LSTM", "GRU"])
@settings(max_examples=10)
@given(st.sampled_from([1e-3, 1.0, 30.0]), rngs)
def test_outputs_stay_within_one(xp, name, scale, rng):
    """A GRU's, if they begin there: it takes means. Large pre-activations overflow nowhere."""
    cell = CELLS[name]
    arrays = [None if a is None else scale * a for a in drawn(rng, cell, T=6)]
    arrays[1] = np.clip(arrays[1], -1, 1) if name == "GRU" else arrays[1]
    y, _ = run(xp, arrays, cell)
    assert np.isfinite(y).all()
    assert np.abs(y[..., :3]).max() <= 1.0


@pytest.mark.parametrize("name", GATED)
@settings(max_examples=5)
@given(st.integers(1, 5), rngs)
def test_gates_that_keep_all_and_take_in_nothing_hold_the_cell(xp, name, T, rng):
    arrays, D = drawn(rng, CELLS[name], T=T), 3
    arrays[4] = arrays[4].copy()
    arrays[4][:D] = -1e4  # σ(i) = 0
    arrays[4][D : 2 * D] = 1e4  # σ(f) = 1
    y, _ = run(xp, arrays, CELLS[name])
    np.testing.assert_array_equal(y[..., D:], np.repeat(arrays[1][:, None, D:], T, 1))


@settings(max_examples=5)
@given(rngs)
def test_an_update_gate_that_is_open_holds_a_gru_s_state(xp, rng):
    arrays, D = drawn(rng, recurrent.GRU), 3
    arrays[4][D : 2 * D] = 1e4  # z = 1
    y, _ = run(xp, arrays, recurrent.GRU)
    np.testing.assert_allclose(y, np.repeat(arrays[1][:, None], 4, 1), atol=1e-15)


def test_an_lstm_has_four_times_the_weights_of_the_simplest_cell_and_a_gru_three():
    """Each row of a gate's weights is a row more to multiply: the products grow alike."""
    rng, sizes = np.random.default_rng(0), {}
    for name, cell in CELLS.items():
        sizes[name] = sum(a.size for a in drawn(rng, cell)[2:])
    assert sizes["LSTM"] == sizes["LINEAR_CANDIDATE_LSTM"] == 4 * sizes["TANH"]
    assert sizes["GRU"] == 3 * sizes["RELU"] == 3 * sizes["TANH"]


def test_the_candidate_is_linear_in_one_cell_and_not_in_the_other(xp):
    """Ten times the input to the candidate alone: what comes in grows tenfold, or is squashed."""
    rng = np.random.default_rng(1)
    grown = {}
    for name in GATED:
        ax, ah = rng.standard_normal((1, 12)), np.zeros((1, 12))
        more = ax.copy()
        more[:, 6:9] *= 10
        state = np.zeros((1, 6))
        cells = [
            xp.to_numpy(CELLS[name].forward(xp, *map(xp.asarray, (a, ah, state)))[0])[:, 3:]
            for a in (ax, more)
        ]
        grown[name] = cells[1] / cells[0]
    np.testing.assert_allclose(grown["LINEAR_CANDIDATE_LSTM"], 10, rtol=1e-12)
    assert (grown["LSTM"] < 9).all()
