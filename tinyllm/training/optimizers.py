"""From gradients to better parameters: SGD, momentum, AdaGrad, Adam, AdamW, Muon.

    state = optimizer.init(xp, params)
    params = optimizer.update(xp, params, grads, state, lr=1e-3)

`params` and `grads` are flat dicts and are not changed. The state is: it is what the optimiser
remembers between steps, as a dict that says all: {"step": 3, "m": {name: array}, …}. It counts
the steps and is written in place, for a model's moments are twice the size of the model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tinyllm.backend import Array, Backend, Params
from tinyllm.training.blocks import by_blocks
from tinyllm.training.muon import is_hidden, muon_step

State = dict[str, Any]


def sgd_update(xp: Backend, params: Params, grads: Params, state: State, *, lr: float) -> Params:
    """Go against the gradient: p ← p - lr g.

    Robbins & Monro 1951, "A stochastic approximation method".
    """
    state["step"] += 1
    return by_blocks(xp, lambda p, g: p - lr * g, params, grads)


def momentum_update(
    xp: Backend,
    params: Params,
    grads: Params,
    state: State,
    *,
    lr: float,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> Params:
    """Go along a decaying sum of gradients: m ← μ m + g,  p ← p - lr m.

    Nesterov's form looks one step ahead: p ← p - lr (g + μ m). Sutskever et al. 2013, "On the
    importance of initialization and momentum in deep learning", with the learning rate outside the
    sum, as in PyTorch: another rate then scales past gradients too.
    """
    state["step"] += 1

    def rule(p: Array, g: Array, m: Array) -> Array:
        m *= momentum
        m += g
        return p - lr * (g + momentum * m if nesterov else m)

    return by_blocks(xp, rule, params, grads, state["m"])


def adagrad_update(
    xp: Backend, params: Params, grads: Params, state: State, *, lr: float, eps: float = 1e-10
) -> Params:
    """Slow down where gradients have been large: v ← v + g²,  p ← p - lr g / (√v + ε).

    Duchi, Hazan & Singer 2011, "Adaptive subgradient methods for online learning and stochastic
    optimization", eq. 1 with a diagonal matrix.
    """
    state["step"] += 1

    def rule(p: Array, g: Array, v: Array) -> Array:
        v += g * g
        return p - lr * g / (xp.sqrt(v) + eps)

    return by_blocks(xp, rule, params, grads, state["v"])


def adamw_update(
    xp: Backend,
    params: Params,
    grads: Params,
    state: State,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> Params:
    """Step by the mean gradient over its root mean square: p ← p - lr (m̂ / (√v̂ + ε) + λ p).

    m ← β₁ m + (1 - β₁) g,  m̂ = m / (1 - β₁ᵗ)      v ← β₂ v + (1 - β₂) g²,  v̂ = v / (1 - β₂ᵗ)

    Loshchilov & Hutter 2019, "Decoupled weight decay regularization" (arXiv:1711.05101), algorithm
    2, where PyTorch's λ counts with the learning rate. Only matrices decay: a norm's gain or a bias
    has no reason to be small, nor has a bias that is kept as a row.
    """
    state["step"] += 1
    (b1, b2), t = betas, state["step"]
    rate, unbias = lr / (1 - b1**t), 1 / math.sqrt(1 - b2**t)

    def rule(p: Array, g: Array, m: Array, v: Array, *, kept: float) -> Array:
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * (g * g)
        return kept * p - rate * m / (unbias * xp.sqrt(v) + eps)

    new: Params = {}
    for decays, kept in ((True, 1 - lr * weight_decay), (False, 1.0)):
        some = {name: p for name, p in params.items() if _decays(name, p) is decays}
        new |= by_blocks(xp, partial(rule, kept=kept), some, grads, state["m"], state["v"])
    return {name: new[name] for name in params}


def _decays(name: str, p: Array) -> bool:
    return p.ndim >= 2 and not name.endswith("bias")


def adam_update(
    xp: Backend,
    params: Params,
    grads: Params,
    state: State,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Params:
    """Do the same without decay: p ← p - lr m̂ / (√v̂ + ε).

    Kingma & Ba 2015, "Adam: a method for stochastic optimization" (arXiv:1412.6980), algorithm 1.
    """
    return adamw_update(xp, params, grads, state, lr=lr, betas=betas, eps=eps, weight_decay=0.0)


def muon_update(
    xp: Backend,
    params: Params,
    grads: Params,
    state: State,
    *,
    lr: float,
    momentum: float = 0.95,
    weight_decay: float = 0.1,
) -> Params:
    """Step by Muon where a matrix lies within the layers, else by AdamW: see `muon.muon_step`."""
    hidden = [name for name, p in params.items() if is_hidden(name, p)]
    others = [name for name in params if name not in hidden]

    def part(arrays: Params) -> Params:
        return {name: arrays[name] for name in others}

    rest = {"step": state["step"], "m": part(state["m"]), "v": part(state["v"])}
    new = adamw_update(xp, part(params), part(grads), rest, lr=lr, weight_decay=weight_decay)
    state["step"] += 1

    def step(name: str) -> Array:
        p, g, m = params[name], grads[name], state["m"][name]
        return muon_step(xp, p, g, m, lr=lr, momentum=momentum, weight_decay=weight_decay)

    new |= zip(hidden, xp.parallel_map(step, hidden), strict=True)
    return {name: new[name] for name in params}


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """A way to change parameters, and the names of what it remembers of each."""

    update: Callable[..., Params]
    buffers: tuple[str, ...] = ()
    decays: bool = False  # whether `update` takes a weight_decay

    def init(self, xp: Backend, params: Params) -> State:
        """Return the state before the first step: it remembers nothing."""
        zeros = {key: {k: xp.zeros_like(p) for k, p in params.items()} for key in self.buffers}
        return {"step": 0, **zeros}


OPTIMIZERS = {
    "sgd": Optimizer(update=sgd_update),
    "momentum": Optimizer(update=momentum_update, buffers=("m",)),
    "adagrad": Optimizer(update=adagrad_update, buffers=("v",)),
    "adam": Optimizer(update=adam_update, buffers=("m", "v")),
    "adamw": Optimizer(update=adamw_update, buffers=("m", "v"), decays=True),
    "muon": Optimizer(update=muon_update, buffers=("m", "v"), decays=True),
}
