"""The same for recurrent networks: PyTorch's own cells, of which it has all but two.

Cells of PyTorch multiply their inputs themselves, so what is multiplied here is the identity. It
adds up before it is squashed, which a GRU's reset gate does not allow: that cell, and the LSTM with
a linear candidate, are written here a second time.
"""

import pytest
from hypothesis import strategies as st

from strategies import sizes
from tinyllm.ops import recurrent as cells

torch = pytest.importorskip("torch")


def tanh_cell(draw, rng):
    return cell_case(draw, rng, cells.TANH, added(torch.rnn_tanh_cell))


def relu_cell(draw, rng):
    return cell_case(draw, rng, cells.RELU, added(torch.rnn_relu_cell))


def lstm_cell(draw, rng):
    return cell_case(draw, rng, cells.LSTM, added(torch_lstm_cell))


def linear_candidate_cell(draw, rng):
    return cell_case(draw, rng, cells.LINEAR_CANDIDATE_LSTM, added(linear_candidate))


def gru_cell(draw, rng):
    return cell_case(draw, rng, cells.GRU, gru)


def recurrent(draw, rng):
    """A network of one of the cells, step by step."""

    def oracle(x, state, weight_ih, weight_hh, bias_ih, bias_hh, *, cell):
        states = []
        for x_t in x.unbind(1):
            state = steps[name](x_t, state, weight_ih, weight_hh, bias_ih, bias_hh)
            states.append(state)
        return torch.stack(states, 1)

    steps = {
        "TANH": torch.rnn_tanh_cell, "RELU": torch.rnn_relu_cell, "LSTM": torch_lstm_cell,
        "LINEAR_CANDIDATE_LSTM": linear_candidate, "GRU": torch.gru_cell,
    }  # fmt: skip
    name, biased = draw(st.sampled_from(list(steps))), draw(st.booleans())
    cell = getattr(cells, name)
    B, T, C, D = (draw(sizes) for _ in range(4))
    G = cell.gates * D
    shapes = (B, T, C), (B, cell.parts * D), (G, C), (G, D)
    biases = [rng.standard_normal(G) if biased else None for _ in range(2)]
    return [*map(rng.standard_normal, shapes), *biases], {"cell": cell}, oracle


def cell_case(draw, rng, cell, oracle):
    B, D = draw(sizes), draw(sizes)
    shapes = (B, cell.gates * D), (B, cell.gates * D), (B, cell.parts * D)
    return list(map(rng.standard_normal, shapes)), {}, oracle


def added(step):
    """Give a cell the sum of its pre-activations through the identity, and h through nothing."""

    def oracle(ax, ah, state):
        G = ax.shape[1]
        D = state.shape[1] // (2 if 2 * state.shape[1] == G else 1)
        return step(ax + ah, state, torch.eye(G).to(ax), torch.zeros(G, D).to(ax), None, None)

    return oracle


def torch_lstm_cell(x, state, *weights):
    return torch.cat(torch.lstm_cell(x, state.chunk(2, 1), *weights), 1)


def linear_candidate(x, state, weight_ih, weight_hh, bias_ih, bias_hh):
    h, c = state.chunk(2, 1)
    linear = torch.nn.functional.linear
    a = linear(x, weight_ih, bias_ih) + linear(h, weight_hh, bias_hh)
    i, f, g, o = a.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g
    return torch.cat([(o.sigmoid() * c).tanh(), c], 1)


def gru(ax, ah, h):
    (rx, zx, nx), (rh, zh, nh) = ax.chunk(3, 1), ah.chunk(3, 1)
    z = (zx + zh).sigmoid()
    return (1 - z) * (nx + (rx + rh).sigmoid() * nh).tanh() + z * h
