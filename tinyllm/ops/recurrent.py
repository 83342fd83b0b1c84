"""Recurrent networks: one step after another, each a function of the input and the state before.

    s_t = cell(aˣ_t, aʰ_t, s_{t-1}),   aˣ_t = W_ih x_t + b_ih,   aʰ_t = W_hh h_{t-1} + b_hh

A cell is a pair of functions of three arrays: what the input says to its gates, what the last
output says to them, and the state. The state is one array (B, S) that begins with the output h
(B, D); an LSTM keeps its cell c behind it. So there is one loop over time for all of them, and the
states of all steps, which it returns, hold the outputs and all that another run could go on from.

Only aʰ has to wait for the step before: aˣ is one product for all steps at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops import elman, gru, lstm
from tinyllm.ops.linear import linear_forward, rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A step and its gradient; for D outputs it has G = gates·D rows of weights, S = parts·D."""

    forward: Callable[[Backend, Array, Array, Array], tuple[Array, Saved]]
    backward: Callable[[Backend, Array, Saved], tuple[Array, Array, Array]]
    gates: int
    parts: int  # of the state: the output, and what is kept beside it


TANH = Cell(forward=elman.tanh_cell_forward, backward=elman.tanh_cell_backward, gates=1, parts=1)
RELU = Cell(forward=elman.relu_cell_forward, backward=elman.relu_cell_backward, gates=1, parts=1)
LSTM = Cell(forward=lstm.lstm_cell_forward, backward=lstm.lstm_cell_backward, gates=4, parts=2)
LINEAR_CANDIDATE_LSTM = Cell(
    forward=lstm.linear_candidate_cell_forward,
    backward=lstm.linear_candidate_cell_backward,
    gates=4,
    parts=2,
)
GRU = Cell(forward=gru.gru_cell_forward, backward=gru.gru_cell_backward, gates=3, parts=1)


def recurrent_forward(
    xp: Backend,
    x: Array,
    state: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    *,
    cell: Cell,
) -> tuple[Array, Saved]:
    """Take one step for each input: s_t = cell(W_ih x_t + b_ih, W_hh h_{t-1} + b_hh, s_{t-1}).

    x (B, T, C), state (B, S), weight_ih (G, C), weight_hh (G, D) -> states (B, T, S)

    h_t is the first D features of s_t, and `state` is s_0. Biases are (G,), where there are any.
    """
    D = state.shape[1] // cell.parts
    ax, _ = linear_forward(xp, xp.permute_dims(x, (1, 0, 2)), weight_ih, bias_ih)  # (T, B, G)
    states, kept = [state], []
    for t in range(x.shape[1]):
        ah, _ = linear_forward(xp, states[-1][:, :D], weight_hh, bias_hh)
        after, s_cell = cell.forward(xp, ax[t, ...], ah, states[-1])
        states.append(after)
        kept.append(s_cell)
    biased = bias_ih is not None, bias_hh is not None
    from_start = xp.stack(states)  # (T + 1, B, S)
    y = xp.permute_dims(from_start[1:, ...], (1, 0, 2))
    return y, (x, from_start, weight_ih, weight_hh, biased, cell, kept)


def recurrent_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, Array, Array, Array, Array | None, Array | None]:
    """ds_{t-1} = dy_{t-1} + dcell + daʰ W_hh, from the last step to the first; dW = Σ da_tᵀ input.

    Backpropagation through time (Werbos 1990, "Backpropagation through time: what it does and how
    to do it", Proc. IEEE 78). Who drops dstate cuts the gradient there: truncated, as in long texts
    that are learned piece by piece.
    """
    x, states, weight_ih, weight_hh, (bias_ih, bias_hh), cell, kept = saved
    D = weight_hh.shape[1]
    dax, dah, ds = [], [], xp.zeros_like(states[0, ...])
    for t in reversed(range(x.shape[1])):
        dax_t, dah_t, ds = step_gradient(xp, dy[:, t, :] + ds, kept[t], weight_hh, cell)
        dax.append(dax_t)
        dah.append(dah_t)
    dax = rows(xp, xp.stack(dax[::-1]))  # (T B, G)
    dah = rows(xp, xp.stack(dah[::-1]))
    inputs = rows(xp, xp.permute_dims(x, (1, 0, 2)))  # (T B, C)
    outputs = rows(xp, states[:-1, :, :D])  # (T B, D), of the steps before
    dx = xp.reshape(dax @ weight_ih, (x.shape[1], x.shape[0], x.shape[2]))
    return (
        xp.permute_dims(dx, (1, 0, 2)),
        ds,
        dax.T @ inputs,
        dah.T @ outputs,
        xp.sum(dax, axis=0) if bias_ih else None,
        xp.sum(dah, axis=0) if bias_hh else None,
    )


def step_gradient(
    xp: Backend, ds: Array, kept: Saved, weight_hh: Array, cell: Cell
) -> tuple[Array, Array, Array]:
    """Go one step back: daˣ, daʰ and ds_{t-1} = dcell + [daʰ W_hh, 0] from ds_t.

    The output, which alone goes through W_hh, is the first part of the state.
    """
    dax, dah, dstate = cell.backward(xp, ds, kept)
    dh, D = dah @ weight_hh, weight_hh.shape[1]
    if cell.parts == 1:
        return dax, dah, dstate + dh
    return dax, dah, xp.concat([dstate[:, :D] + dh, dstate[:, D:]], axis=1)
