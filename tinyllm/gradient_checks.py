"""Is every gradient right? Operations and whole models against central differences, in float64.

    for check in check_gradients(model):          a model, or a config
        print(check.name, check.error, check.ok)

About 1e-9 is right; above 1e-6 is a mistake. Half of what is wrong with a gradient is wrong by a
factor, and all of it is wrong by more than a thousandth.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, get_backend
from tinyllm.central_differences import gradient_error
from tinyllm.errors import UsageError
from tinyllm.models.architecture import ARCHITECTURES, architecture
from tinyllm.models.balance import Balance
from tinyllm.models.examples import random_params
from tinyllm.models.storage import BITS
from tinyllm.ops.examples import CONSTANTS, EXAMPLES, Pair, pairs
from tinyllm.params import nest

TOLERANCE = 1e-6
STEP = 1e-6  # of a parameter's root mean square: truncation and rounding are then alike
B, T = 2, 7  # texts and tokens that a model is checked on
BALANCE = Balance(expert=1.0, device=0.5, travel=0.3, mixtral=0.2, z=0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One gradient: its argument or parameter, its relative error, and whether that is small."""

    name: str
    error: float

    @property
    def ok(self) -> bool:
        """Whether the error is one of rounding. A NaN is not."""
        return self.error <= TOLERANCE


def check_operation(
    name: str, *, samples: int = 1, seed: int = 0, xp: Backend | None = None
) -> list[Check]:
    """Check the gradient of an operation for each of its arguments, the others held fixed.

    The error is the largest of `samples` draws. Raises UsageError for an unknown name.
    """
    if name not in EXAMPLES:
        raise UsageError(f"there is no operation {name!r}; there are {', '.join(EXAMPLES)}")
    pair, backend = pairs()[name], xp or get_backend("numpy")
    errors: dict[str, float] = {}
    for sample in range(samples):
        arrays, options = EXAMPLES[name](np.random.default_rng([seed, sample, 0]))
        rng = np.random.default_rng([seed, sample, 1])  # not that of a dropout in the options
        for i, (argument, array) in enumerate(zip(pair.arguments, arrays, strict=False)):
            if array.dtype.kind == "f" and argument not in CONSTANTS.get(name, ()):
                error = _argument_error(backend, pair, i, arrays, options, rng)
                errors[argument] = _worse(errors.get(argument, 0.0), error)
    return [Check(name=argument, error=error) for argument, error in errors.items()]


def check_gradients(
    model: Any,
    *,
    only: Sequence[str] = (),
    samples: int = 1,
    seed: int = 0,
    xp: Backend | None = None,
) -> list[Check]:
    """Check a model's gradient for each of its parameters, or those with a part of `only` in them.

    `model` is a Model, whose parameters are then widened to float64, or a config, and they are
    drawn. For a random direction v of one parameter and a random cotangent dy of the logits,
    ⟨dy, J v⟩ out of two forward passes must be ⟨grad, v⟩. Behind the logits stand the losses that
    mixtures of experts add to a model's own. The error is relative to ‖J v‖, which is
    what ⟨dy, J v⟩ is for most dy; it is the largest of `samples` draws of tokens, v and dy. Raises
    UsageError where no parameter has such a name.
    """
    errors: dict[str, float] = {}
    for sample in range(samples):
        rng = np.random.default_rng([seed, sample])
        if hasattr(model, "params"):
            if any(p.dtype in BITS for p in model.params.values()):
                raise UsageError("rounded weights have no gradient: load without `storage`")
            backend, config = model.xp, model.config
            params = {name: backend.to_numpy(p) for name, p in model.params.items()}
        elif type(model) in ARCHITECTURES:
            backend, config = xp or get_backend("numpy"), model
            params = random_params(config, rng)
        else:
            kind = type(model).__name__
            raise UsageError(f"the model is of type {kind}, expected a Model or a config")
        params = {name: np.asarray(p, np.float64) for name, p in params.items()}
        for name, error in _model_errors(backend, config, params, rng, only).items():
            errors[name] = _worse(errors.get(name, 0.0), error)
    return [Check(name=name, error=error) for name, error in errors.items()]


def _model_errors(
    xp: Backend,
    config: Any,
    params: dict[str, Any],
    rng: np.random.Generator,
    only: Sequence[str],
) -> dict[str, float]:
    """Return the error of each gradient, by its parameter's name; infinite where there is none."""
    chosen = [n for n in params if not only or any(part in n for part in only)]
    if not chosen:
        raise UsageError(f"no parameter has {' or '.join(map(repr, only))} in its name")
    model = architecture(config)
    tokens = xp.asarray(rng.integers(0, config.vocab_size, (B, min(T, config.max_seq_len))))
    tree = {name: xp.asarray(p) for name, p in params.items()}

    def outputs(changed: dict[str, Any]) -> tuple[Any, Any]:
        """Return the logits (B, T, V) and, in one row with them, the routers' losses."""
        logits, saved = model.forward(xp, tokens, nest(tree | changed), config)
        counted = xp.asarray(np.arange(1.0, 1.0 + B))
        routed, saved = model.balanced(xp, saved, BALANCE, counted)
        losses = BALANCE.of(routed.losses) if routed else 0.0
        return np.append(xp.to_numpy(logits), losses), (logits.shape, saved)

    y, (shape, saved) = outputs({})
    dy = np.append(rng.standard_normal(math.prod(shape)), 1.0)
    _, grads = model.backward(xp, xp.asarray(dy[:-1].reshape(shape)), saved)
    errors = {name: math.inf for name in grads if name not in params}
    for name in chosen:
        p = params[name]
        size = math.sqrt(np.mean(p * p)) or 1.0
        v = size * rng.standard_normal(p.shape)
        upper, lower = (outputs({name: xp.asarray(p + h * v)})[0] for h in (STEP, -STEP))
        jv = (upper - lower) / (2 * STEP)
        # A parameter may have no effect, and a score may always be 0.
        scale = np.linalg.norm(jv) + 1e-2 * np.linalg.norm(y) + np.finfo(np.float64).tiny
        grad = xp.to_numpy(grads[name]) if name in grads else None
        fits = grad is not None and grad.shape == p.shape
        errors[name] = float(abs(np.sum(dy * jv) - np.sum(grad * v)) / scale) if fits else math.inf
    return errors


def _argument_error(
    xp: Backend, pair: Pair, i: int, arrays: list[Any], options: dict[str, Any], rng: Any
) -> float:
    """Return the error of one argument's gradient; infinite where its shape is wrong, or absent."""

    def forward(xp: Backend, x: Array) -> Any:
        given = [x if k == i else xp.asarray(a) for k, a in enumerate(arrays)]
        return pair.forward(xp, *given, **copy.deepcopy(options))  # which may have a generator

    def backward(xp: Backend, dy: Array, saved: Any) -> Array:
        grads = pair.backward(xp, dy, saved)
        return grads[i] if isinstance(grads, tuple) else grads

    try:
        return gradient_error(xp, forward, backward, arrays[i], rng=rng)
    except (AssertionError, AttributeError):
        return math.inf


def _worse(one: float, other: float) -> float:
    """Return the larger error; NaN is the largest."""
    return one if math.isnan(one) or one > other else other
