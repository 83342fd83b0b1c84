"""One step of the simplest recurrent network: the state is what the last step put out.

Elman 1990, "Finding structure in time", Cognitive Science 14. The two versions here are those of
PyTorch's `RNN`. How a cell is used, and what its arguments are, is in `tinyllm.ops.recurrent`.
"""

from tinyllm.backend import Array, Backend, Saved


def tanh_cell_forward(xp: Backend, ax: Array, ah: Array, state: Array) -> tuple[Array, Saved]:
    """Squash what comes in: h_t = tanh(aˣ + aʰ).

    ax (B, D), ah (B, D), state (B, D) -> new (B, D)
    """
    h = xp.tanh(ax + ah)
    return h, (h,)


def tanh_cell_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """daˣ = daʰ = dh ⊙ (1 - h²); the state acts through aʰ alone."""
    (h,) = saved
    da = dy * (1.0 - h * h)
    return da, da, xp.zeros_like(da)


def relu_cell_forward(xp: Backend, ax: Array, ah: Array, state: Array) -> tuple[Array, Saved]:
    """Cut off below zero: h_t = max(0, aˣ + aʰ), which keeps long chains of it from shrinking.

    ax (B, D), ah (B, D), state (B, D) -> new (B, D)

    Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear
    units" (arXiv:1504.00941).
    """
    a = ax + ah
    h = xp.where(a > 0, a, xp.zeros_like(a))
    return h, (h,)


def relu_cell_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """daˣ = daʰ = dh where h > 0, else 0; the state acts through aʰ alone."""
    (h,) = saved
    da = xp.where(h > 0, dy, xp.zeros_like(dy))
    return da, da, xp.zeros_like(da)
