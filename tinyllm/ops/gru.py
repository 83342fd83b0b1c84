"""One step of a gated recurrent unit: the state is the output, and two gates say how it changes.

The pre-activations are in PyTorch's order, [reset r, update z, candidate n]; σ is the logistic
function. How a cell is used, and what its arguments are, is in `tinyllm.ops.recurrent`.
"""

from tinyllm.backend import Array, Backend, Saved


def gru_cell_forward(xp: Backend, ax: Array, ah: Array, state: Array) -> tuple[Array, Saved]:
    """Mix the old state with a candidate: h_t = (1 - z) n + z h_{t-1},  n = tanh(nˣ + r nʰ).

    ax (B, 3D), ah (B, 3D), state (B, D) -> new (B, D)

    r = σ(rˣ + rʰ), z = σ(zˣ + zʰ). Cho et al. 2014 (arXiv:1406.1078), section 2.3, with two
    differences that PyTorch has from cuDNN: the reset gate acts on nʰ = W_hn h + b_hn, behind the
    product and not before it, and z is the share of the old state.
    """
    D = state.shape[1]
    gates = xp.sigmoid(ax[:, : 2 * D] + ah[:, : 2 * D])
    r, z = gates[:, :D], gates[:, D:]
    recalled = ah[:, 2 * D :]
    n = xp.tanh(ax[:, 2 * D :] + r * recalled)
    return n + z * (state - n), (r, z, n, recalled, state)


def gru_cell_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """dz = dh (h_{t-1} - n),  dn = dh (1 - z) (1 - n²) at nˣ, times r at nʰ,  dr = dn nʰ."""
    r, z, n, recalled, state = saved
    dn = dy * (1.0 - z) * (1.0 - n * n)  # of what is inside the tanh
    dr = dn * recalled * r * (1.0 - r)
    dz = dy * (state - n) * z * (1.0 - z)
    return xp.concat([dr, dz, dn], axis=1), xp.concat([dr, dz, dn * r], axis=1), dy * z
