"""How far back does a recurrent network learn, and is it the LSTM as such that reaches further?

A gradient goes back through T steps as a product of T Jacobians, so it vanishes or explodes like a
power (Pascanu et al. 2013). An LSTM's cell has a path whose factors are its forget gates σ(f), and
is said to mitigate that (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

Expected: an Elman network vanishes or explodes with the gain of its weights. An LSTM as PyTorch
initialises it has σ(f) near 1/2, and vanishes *faster*; what mitigates is a forget gate that is
open. Trained on the adding problem, an LSTM with a forget bias of 1 finds two numbers among 100,
and an Elman network does not.

    python examples/01_vanishing_gradients.py --quick
    python examples/01_vanishing_gradients.py
"""

import argparse
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.models.recurrent_flow import forget_gate_flow, gradient_flow, scalar_flow
from tinyllm.ops.linear import linear_backward, linear_forward
from tinyllm.ops.recurrent import LSTM, TANH, Cell, recurrent_backward, recurrent_forward
from tinyllm.training.clipping import clip_factor, global_norm, scaled
from tinyllm.training.optimizers import OPTIMIZERS

xp = get_backend("numpy")
WIDTH, BACK = 64, 99
NAMES = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
GUESS = 1 / 6  # the error of always saying 1, the mean: the variance of a sum of two numbers


# The simplest case: one number, h_t = tanh(w h_{t-1}), and the formula wⁿ Π tanh'(w h).


def one_number() -> None:
    print("dh_n/dh_0 of h = tanh(w h), from h_0 = 0.01")
    for weight in (0.5, 1.0, 1.5):
        flow = scalar_flow(
            math.tanh, lambda a: 1 - math.tanh(a) ** 2, weight=weight, start=0.01, steps=BACK
        )
        print(f"  w {weight}: " + "  ".join(f"n {n}: {flow[n]:.1e}" for n in (1, 5, 10, BACK)))


# A random network of 64: what does the last output still know of the input 99 steps before?


def elman(rng: np.random.Generator, gain: float) -> list[Any]:
    """Recurrent weights that turn, and scale by the gain; else as PyTorch has it."""
    weights = fresh(rng, TANH, WIDTH, WIDTH)
    weights[1] = gain * np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    return weights


def fresh(
    rng: np.random.Generator, cell: Cell, inputs: int, width: int, forget: float = 0.0
) -> list[Any]:
    """PyTorch's initialisation, with `forget` added to the bias of an LSTM's forget gate."""
    G, most = cell.gates * width, 1 / math.sqrt(width)
    weights = [rng.uniform(-most, most, s) for s in ((G, inputs), (G, width), (G,), (G,))]
    if cell is LSTM:
        weights[2][width : 2 * width] += forget
    return weights


def flows(seed: int) -> dict[str, tuple[float, float]]:
    """Return for each network ‖∂h_T/∂x_{T-99}‖ / ‖∂h_T/∂x_T‖, and the product of its gates."""
    rng = np.random.default_rng(seed)
    x, found = 0.3 * rng.standard_normal((BACK + 1, WIDTH)), {}  # loud ones would saturate tanh
    for gain in (0.9, 1.0, 1.5):
        inputs, _ = gradient_flow(xp, x, np.zeros(WIDTH), *elman(rng, gain), cell=TANH)
        found[f"tanh, gain {gain}"] = inputs[BACK] / inputs[0], math.nan
    for forget in (0.0, 1.0, 4.0):
        weights, zeros = fresh(rng, LSTM, WIDTH, WIDTH, forget), np.zeros(2 * WIDTH)
        inputs, _ = gradient_flow(xp, x, zeros, *weights, cell=LSTM)
        _, (*_, kept) = recurrent_forward(xp, x[None], zeros[None], *weights, cell=LSTM)
        gates = forget_gate_flow(np.stack([step[1][0] for step in kept]))[BACK].max()
        found[f"LSTM, forget bias +{forget:.0f}"] = inputs[BACK] / inputs[0], gates
    return found


# The adding problem: of T random numbers two are marked; say their sum at the end.


class Scale(NamedTuple):
    """How large the experiment is."""

    T: int
    width: int
    batch: int
    steps: int


QUICK = Scale(T=12, width=24, batch=32, steps=150)
WHOLE = Scale(T=100, width=64, batch=32, steps=4000)


def problem(rng: np.random.Generator, n: int, T: int) -> tuple[Any, Any]:
    x = np.zeros((n, T, 2), np.float32)
    x[..., 0] = rng.random((n, T))
    marks = rng.integers(0, T // 2, n), rng.integers(T // 2, T, n)
    for mark in marks:
        x[np.arange(n), mark, 1] = 1
    return x, sum(x[np.arange(n), mark, 0] for mark in marks)[:, None]


def predict(params: dict[str, Any], x: Any, cell: Cell) -> tuple[Any, Any]:
    D = params["weight_hh"].shape[1]
    start = np.zeros((len(x), cell.parts * D), np.float32)
    states, s_network = recurrent_forward(xp, x, start, *(params[n] for n in NAMES), cell=cell)
    y, s_out = linear_forward(xp, states[:, -1, :D], params["out.weight"], params["out.bias"])
    return y, (states, s_network, s_out)


def error_after_training(cell: Cell, scale: Scale, seed: int) -> float:
    """Train with Adam, and return the mean squared error on new problems."""
    rng, D = np.random.default_rng(seed), scale.width
    params = dict(zip(NAMES, fresh(rng, cell, 2, D, forget=1.0), strict=True))
    params |= {"out.weight": rng.uniform(-1, 1, (1, D)) / math.sqrt(D), "out.bias": np.zeros(1)}
    params = {name: p.astype(np.float32) for name, p in params.items()}
    state = OPTIMIZERS["adam"].init(xp, params)
    for _ in range(scale.steps):
        x, target = problem(rng, scale.batch, scale.T)
        y, (states, s_network, s_out) = predict(params, x, cell)
        dh, dweight, dbias = linear_backward(xp, 2 * (y - target) / len(y), s_out)
        dstates = np.zeros_like(states)
        dstates[:, -1, :D] = dh
        _, _, *dweights = recurrent_backward(xp, dstates, s_network)
        grads = dict(zip(NAMES, dweights, strict=True)) | {"out.weight": dweight, "out.bias": dbias}
        grads = scaled(xp, grads, clip_factor(global_norm(xp, grads), 1.0))
        params = OPTIMIZERS["adam"].update(xp, params, grads, state, lr=2e-3)
    x, target = problem(rng, 1000, scale.T)
    return float(np.mean((predict(params, x, cell)[0] - target) ** 2))


# Judge: what is said, whether it was expected to be so, and whether it is.

Flows, Errors = dict[str, tuple[float, float]], dict[str, list[float]]
FLOW_CLAIMS: dict[str, tuple[bool, Callable[[Flows], bool]]] = {
    "an Elman network vanishes or explodes with its gain": (
        True, lambda x: x["tanh, gain 0.9"][0] < 1e-3 and x["tanh, gain 1.5"][0] > 1,
    ),
    "an LSTM mitigates vanishing": (
        False, lambda x: x["LSTM, forget bias +0"][0] > x["tanh, gain 1.0"][0],
    ),
    "an LSTM whose forget gates are open does": (
        True, lambda x: x["LSTM, forget bias +4"][0] > x["tanh, gain 1.0"][0],
    ),
    "the forget gates say how far: their product grows with the flow, and is below it": (
        True, lambda x: rising([x[f"LSTM, forget bias +{b}"] for b in (0, 1, 4)]),
    ),
}  # fmt: skip
ERROR_CLAIMS: dict[str, tuple[bool, Callable[[Errors], bool]]] = {
    "the LSTM learns to add": (True, lambda x: max(x["LSTM"]) < GUESS / 10),
    "the Elman network does not": (True, lambda x: min(x["tanh"]) > GUESS / 2),
}


def rising(pairs: list[tuple[float, float]]) -> bool:
    return sorted(pairs) == pairs and all(gates < flow for flow, gates in pairs)


def judge(claims: dict[str, Any], found: Any, testable: bool = True) -> None:
    for claim, (expected, holds) in claims.items():
        verdict = "reproduced" if holds(found) else "not reproduced at this scale"
        verdict += ", as expected" if holds(found) == expected else ", not as expected"
        print(f"{claim}: {verdict if testable else 'cannot be tested at this scale'}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, help="default: 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="a short adding problem, in seconds")
    args = parser.parse_args()
    seeds = range(args.seeds or (1 if args.quick else 3))
    one_number()
    runs = [flows(seed) for seed in seeds]
    print(f"gradient of the input {BACK} steps back over that of the last; width {WIDTH}")
    middle: Flows = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        middle[name] = tuple(np.exp(np.log(values).mean(0)).tolist())
        low, high = values[:, 0].min(), values[:, 0].max()
        gates = "" if math.isnan(middle[name][1]) else f"   gates: {middle[name][1]:.0e}"
        print(f"  {name:22} {middle[name][0]:.0e}  ({low:.0e} to {high:.0e}){gates}")
    judge(FLOW_CLAIMS, middle)

    scale = QUICK if args.quick else WHOLE
    cells = {"tanh": TANH, "LSTM": LSTM}
    print(f"adding 2 of {scale.T} numbers, {scale.steps} steps: error; guessing has {GUESS:.3f}")
    errors: Errors = {}
    for name, cell in cells.items():
        errors[name] = xp.parallel_map(partial(error_after_training, cell, scale), seeds)
        print(f"  {name:22} " + "  ".join(f"{error:.4f}" for error in errors[name]))
    judge(ERROR_CLAIMS, errors, testable=not args.quick)


if __name__ == "__main__":
    main()
