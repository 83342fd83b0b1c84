"""A mixture of experts: many feed-forward layers, of which each token passes a few.

    tokens          a   b   c   d                    each is sent to k = 2 of the experts 0, 1, 2
    chosen         0 2 2 1 0 1 2 0
    by expert      a c d | b c | a b d               sorted: one product for each expert
    places         0 5 6 3 1 4 7 2                   and where each token finds what it was given

No expert that is sent nothing is touched: not its weights in memory, and its gradient is exactly 0.
All is gathered, and nothing scattered, so that a sum has one order on every machine.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Saved
from tinyllm.layers.mlp import Activation, gated_mlp_backward, gated_mlp_forward
from tinyllm.layers.projection import projection_backward, projection_forward
from tinyllm.ops.linear import rows
from tinyllm.ops.routing import (
    Routing,
    choose_experts,
    expert_weights_backward,
    expert_weights_forward,
)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Who is sent where. A slot is one of the k choices of one token, slot = token · k + choice."""

    slots: Any  # (M,) in the order of their experts
    counts: Any  # (E,) how many of them each expert has
    places: Any  # (N k,) where in that order each slot stands; M where it was dropped


def moe_forward(
    xp: Backend, x: Array, p: dict[str, Any], *, routing: Routing, activation: Activation
) -> tuple[Array, Saved]:
    """Add up what the chosen experts make of each token: y = Σₑ wₑ mlpₑ(x), and shared(x).

    x (..., D) -> y (..., D)

    Shazeer et al. 2017, "Outrageously large neural networks" (arXiv:1701.06538), eq. 1; Jiang et
    al. 2024, "Mixtral of Experts" (arXiv:2401.04088), section 2.1. See `tinyllm.ops.routing` for
    the weights. Uses gate (E, D), the router, and experts by their numbers, each a gated mlp; and
    where the checkpoint has it, shared_experts, one gated mlp that every token passes (Dai et al.
    2024, "DeepSeekMoE" (arXiv:2401.06066), eq. 9).
    """
    s: dict[str, Saved] = {"shape": x.shape}
    tokens, E = rows(xp, x), len(p["experts"])
    s["scores"], s["gate"] = projection_forward(xp, tokens, p["gate"])  # (N, E)
    s["ids"] = ids = choose_experts(xp, s["scores"], routing)  # (N, k)
    weights, s["weights"] = expert_weights_forward(
        xp, s["scores"], ids, renormalise=routing.renormalise, scale=routing.scale
    )
    sent = dispatch(xp.to_numpy(ids), E, routing.capacity)
    given = xp.take(tokens, xp.asarray(sent.slots // routing.k), axis=0)  # (M, D)
    made, s["experts"] = _experts_forward(xp, given, p["experts"], sent, activation)
    made = _by_token(xp, made, sent, ids.shape)  # (N, k, D)
    y = xp.reshape(xp.sum(weights[:, :, None] * made, axis=1), x.shape)
    s["combined"] = weights, made, sent
    if "shared_experts" in p:
        shared, s["shared_experts"] = gated_mlp_forward(
            xp, x, p["shared_experts"], activation=activation
        )
        y = y + shared
    return y, s


def moe_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dmade = w dy and dw = ⟨dy, made⟩: the first goes to the experts, the second to the router.

    Whatever else was made of the router's scores adds its gradient there: see `with_dscores`.
    """
    weights, made, sent = saved["combined"]
    flat, grads = rows(xp, dy), {}
    dmade = rows(xp, weights[:, :, None] * flat[:, None, :])  # (N k, D)
    dmade = xp.take(dmade, xp.asarray(sent.slots), axis=0)
    dgiven, grads["experts"] = _experts_backward(xp, dmade, saved["experts"], sent)
    dtokens = xp.sum(_by_token(xp, dgiven, sent, weights.shape), axis=1)  # (N, D)
    dweights = xp.sum(flat[:, None, :] * made, axis=-1)
    dz, _ = expert_weights_backward(xp, dweights, saved["weights"])
    if "dscores" in saved:
        dz = dz + saved["dscores"]
    drouted, grads["gate"] = projection_backward(xp, dz, saved["gate"])
    dx = xp.reshape(dtokens + drouted, saved["shape"])
    if "shared_experts" in saved:
        dshared, grads["shared_experts"] = gated_mlp_backward(xp, dy, saved["shared_experts"])
        dx = dx + dshared
    return dx, grads


def with_dscores(saved: Saved, dscores: Array) -> Saved:
    """Return what was saved with a gradient (N, E) that the router's scores have from elsewhere.

    That is how a loss of `tinyllm.ops.balance` gets back into a mixture, through whatever block.
    """
    return saved | {"dscores": dscores}


def dispatch(ids: Any, n_experts: int, capacity: float | None = None) -> Dispatch:
    """Sort choices by expert: ids (N, k), on the host.

    With a capacity c, an expert takes no more than ⌈c k N / E⌉ tokens, those that come first; what
    it drops, it adds nothing to (Lepikhin et al. 2020, "GShard" (arXiv:2006.16668), section 2.2).
    What a token is given then depends on the others.
    """
    chosen = ids.reshape(-1)
    slots = np.argsort(chosen, kind="stable")
    counts = np.bincount(chosen, minlength=n_experts)
    if capacity is not None:
        room = math.ceil(capacity * len(chosen) / n_experts)
        rank = np.arange(len(chosen)) - np.repeat(np.cumsum(counts) - counts, counts)
        slots, counts = slots[rank < room], np.minimum(counts, room)
    places = np.full(len(chosen), len(slots))
    places[slots] = np.arange(len(slots))
    return Dispatch(slots, counts, places)


def _by_token(xp: Backend, x: Array, sent: Dispatch, shape: tuple[int, int]) -> Array:
    """Give each token what its choices made, 0 where it was dropped: x (M, D) -> y (N, k, D)."""
    if len(sent.slots) < len(sent.places):
        x = xp.concat([x, xp.zeros((1, x.shape[1]), dtype=x.dtype)])
    return xp.reshape(xp.take(x, xp.asarray(sent.places), axis=0), (*shape, x.shape[1]))


def _experts_forward(
    xp: Backend, x: Array, p: dict[str, Any], sent: Dispatch, activation: Activation
) -> tuple[Array, Saved]:
    """Let each expert make what it makes of its rows: x (M, D) -> y (M, D)."""
    parts, s, start = [], {}, 0
    for index, count in enumerate(sent.counts.tolist()):
        if count:
            given = x[start : start + count, :]
            y, s[str(index)] = gated_mlp_forward(xp, given, p[str(index)], activation=activation)
            parts.append(y)
            start += count
    return xp.concat(parts) if parts else x, (p, s)


def _experts_backward(
    xp: Backend, dy: Array, saved: Saved, sent: Dispatch
) -> tuple[Array, dict[str, Any]]:
    """dx and every expert's gradients: zeros for one that was sent nothing."""
    p, s = saved
    parts, grads, start = [], {}, 0
    for index, count in enumerate(sent.counts.tolist()):
        name = str(index)
        if count:
            dx, grads[name] = gated_mlp_backward(xp, dy[start : start + count, :], s[name])
            parts.append(dx)
            start += count
        else:
            grads[name] = {
                part: {leaf: xp.zeros_like(array) for leaf, array in branch.items()}
                for part, branch in p[name].items()
            }
    return xp.concat(parts) if parts else dy, grads
