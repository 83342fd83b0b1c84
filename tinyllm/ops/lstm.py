"""One step of a long short-term memory: gates decide what the cell keeps, takes in and shows.

The state is [h, c], the output beside the cell. The pre-activations are those of the four gates in
PyTorch's order, [input i, forget f, candidate g, output o]; σ is the logistic function. How a cell
is used, and what its arguments are, is in `tinyllm.ops.recurrent`.

The cell is a sum over time: along the direct path ∂c_t/∂c_{t-1} is σ(f) and nothing else, so what
the gates let through neither vanishes nor explodes (`tinyllm.models.recurrent_flow` measures it).
"""

from tinyllm.backend import Array, Backend, Saved


def lstm_cell_forward(xp: Backend, ax: Array, ah: Array, state: Array) -> tuple[Array, Saved]:
    """Keep, take in, show: c_t = σ(f) c_{t-1} + σ(i) tanh(g),  h_t = σ(o) tanh(c_t).

    ax (B, 4D), ah (B, 4D), state (B, 2D) -> new (B, 2D)

    [i, f, g, o] = aˣ + aʰ. Hochreiter & Schmidhuber 1997, "Long short-term memory", Neural
    Computation 9, with the forget gate of Gers, Schmidhuber & Cummins 2000, "Learning to forget".
    """
    c_prev, (i, f, g, o) = _cell_and_gates(xp, ax, ah, state)
    g = xp.tanh(g)
    c = f * c_prev + i * g
    squashed = xp.tanh(c)
    return xp.concat([o * squashed, c], axis=1), (i, f, g, o, c_prev, squashed)


def lstm_cell_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """With dc the gradient of c_t by both of its ways out, dc_{t-1} = dc σ(f), and so on.

    da = [dc g i (1-i), dc c_{t-1} f (1-f), dc i (1-g²), dh tanh(c) o (1-o)], gates after σ or tanh.
    """
    i, f, g, o, c_prev, squashed = saved
    D = i.shape[1]
    dh, dc = dy[:, :D], dy[:, D:]
    dc = dc + dh * o * (1.0 - squashed * squashed)
    di, df, dg, do = dc * g, dc * c_prev, dc * i, dh * squashed
    da = xp.concat(
        [di * i * (1.0 - i), df * f * (1.0 - f), dg * (1.0 - g * g), do * o * (1.0 - o)], axis=1
    )
    return da, da, xp.concat([xp.zeros_like(dh), dc * f], axis=1)


def linear_candidate_cell_forward(
    xp: Backend, ax: Array, ah: Array, state: Array
) -> tuple[Array, Saved]:
    """Take in without squashing, squash behind the gate: c_t = σ(f) c_{t-1} + σ(i) g,  h_t =
    tanh(σ(o) c_t).

    ax (B, 4D), ah (B, 4D), state (B, 2D) -> new (B, 2D)

    The form in which the LSTM is often explained, φ(gate, x) = σ(gate) x three times: s_t =
    φ(i, g) + φ(f, s_{t-1}) and y_t = tanh(φ(o, s_t)). It is not the standard cell: the candidate g
    is linear, and the output gate acts before the tanh.
    """
    c_prev, (i, f, g, o) = _cell_and_gates(xp, ax, ah, state)
    c = f * c_prev + i * g
    h = xp.tanh(o * c)
    return xp.concat([h, c], axis=1), (i, f, g, o, c_prev, c, h)


def linear_candidate_cell_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, Array, Array]:
    """With dv = dh (1 - h²) the gradient of σ(o) c_t:  dc += dv σ(o),  dc_{t-1} = dc σ(f).

    da = [dc g i (1-i), dc c_{t-1} f (1-f), dc i, dv c o (1-o)], gates after σ.
    """
    i, f, g, o, c_prev, c, h = saved
    D = i.shape[1]
    dshown = dy[:, :D] * (1.0 - h * h)
    dc = dy[:, D:] + dshown * o
    di, df, do = dc * g, dc * c_prev, dshown * c
    da = xp.concat([di * i * (1.0 - i), df * f * (1.0 - f), dc * i, do * o * (1.0 - o)], axis=1)
    return da, da, xp.concat([xp.zeros_like(dshown), dc * f], axis=1)


def _cell_and_gates(
    xp: Backend, ax: Array, ah: Array, state: Array
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """Return c_{t-1} (B, D), and i, f, o after σ, but g as it is."""
    D = state.shape[1] // 2
    a = ax + ah
    both = xp.sigmoid(a[:, : 2 * D])
    gates = both[:, :D], both[:, D:], a[:, 2 * D : 3 * D], xp.sigmoid(a[:, 3 * D :])
    return state[:, D:], gates
