"""How far back a gradient reaches through a recurrent network: as formulas say it, and measured.

A gradient goes back one step by a product with a Jacobian, so through many steps it goes by a
product of many: it vanishes or explodes like a power, unless something holds the factors near 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend
from tinyllm.ops.recurrent import Cell, recurrent_forward, step_gradient


def scalar_flow(
    squash: Callable[[float], float],
    slope: Callable[[float], float],
    *,
    weight: float,
    start: float,
    steps: int,
) -> list[float]:
    """Follow h_t = s(w h_{t-1}): dh_n/dh_0 = wⁿ Πₖ s'(w h_k) over k < n, for n from 0 to `steps`.

    `squash` is s and `slope` its derivative s'. Each step multiplies by w s'(w h): below 1 it
    vanishes, above 1 it explodes.
    """
    h, flow = start, [1.0]
    for _ in range(steps):
        flow.append(flow[-1] * weight * slope(weight * h))
        h = squash(weight * h)
    return flow


def growth_bound(weight_hh: Any, steepest: float = 1.0) -> float:
    """Return γ σ_max(W_hh), which bounds the growth of a gradient in each step of an Elman network.

    weight_hh (D, D) -> bound ()

    γ is the steepest slope of what squashes: 1 of tanh and ReLU, 1/4 of the logistic function.
    Below 1 the gradient must vanish; above 1 it may explode, or not (Pascanu, Mikolov & Bengio
    2013, "On the difficulty of training recurrent neural networks", section 2.1).
    """
    return steepest * float(np.linalg.norm(weight_hh, 2))


def gradient_flow(
    xp: Backend,
    x: Array,
    state: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    *,
    cell: Cell,
) -> tuple[Any, Any]:
    """Measure what the last output still knows of earlier inputs and states, for one text.

    x (T, C), state (S,) -> inputs (T,), states (T + 1,)

    inputs[k] = ‖∂h_T/∂x_{T-k}‖ and states[k] = ‖∂h_T/∂s_{T-k}‖, the largest singular value of each
    Jacobian, in NumPy. The rows of the identity go back through the network as a batch would.
    """
    _, (*_, kept) = recurrent_forward(
        xp, x[None, ...], state[None, ...], weight_ih, weight_hh, bias_ih, bias_hh, cell=cell
    )
    D, S = weight_hh.shape[1], state.shape[0]
    jacobian = xp.asarray(np.eye(D, S), dtype=x.dtype)  # ∂h_T/∂s_T
    inputs, states = [], [_norm(xp, jacobian)]
    for s_step in reversed(kept):
        dax, _, jacobian = step_gradient(xp, jacobian, s_step, weight_hh, cell)
        inputs.append(_norm(xp, dax @ weight_ih))
        states.append(_norm(xp, jacobian))
    return np.array(inputs), np.array(states)


def forget_gate_flow(forget: Any) -> Any:
    """Multiply the forget gates from the last step back: ∂c_T/∂c_{T-k} = Π σ(f_{T-j}) over j < k.

    forget (T, D) -> flow (T + 1, D)

    That is the direct path, from cell to cell. It is all there is where the gates do not see the
    output (W_hh = 0); else gradients also go through the gates.
    """
    return np.cumprod(np.concatenate([np.ones_like(forget[:1]), forget[::-1]]), axis=0)


def _norm(xp: Backend, matrix: Array) -> float:
    return float(np.linalg.norm(xp.to_numpy(matrix), 2))
