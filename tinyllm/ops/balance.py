"""Losses that keep a router from sending every token to the same few experts.

Each is Σ load · P: how much an expert, or a group of experts on one device, was sent, times how
probable the router finds it. The load is counted, so that it is a constant; the gradient flows
through the probabilities alone, and lowers those of experts that had too much. A load is 1 where
all are sent the same, and then so are these losses; but 1 is not the least that they can be.

    loss         load of expert e
    expert       E/(kT) · tokens sent to e                      Switch, for k = 1; DeepSeek eq. 23
    device       the mean of that over the experts of e's group                   DeepSeek eq. 26
    travel       groups/(kept T) · tokens sent to any expert of e's group         DeepSeek eq. 29

Fedus et al. 2021, "Switch Transformers" (arXiv:2101.03961), eq. 4; DeepSeek-AI 2024, "DeepSeek-V2"
(arXiv:2405.04434), section 2.2.3. Mixtral's loss in transformers is k times the expert loss, over
the tokens of all layers at once; DeepSeek's are of one text in one layer. Which tokens count as one
is for the caller to say: they are the axis T.
"""

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.routing import Routing, one_hot
from tinyllm.ops.softmax import log_softmax_forward, softmax_backward, softmax_forward


def balance_forward(xp: Backend, scores: Array, load: Array) -> tuple[Array, Saved]:
    """Weigh what the router finds probable by the load: loss = Σₑ loadₑ meanₜ p, p = softmax(z).

    scores (B, T, E), load (B, E) -> loss (B,)
    """
    probs, s_softmax = softmax_forward(xp, scores)
    T = max(1, scores.shape[1])
    return xp.sum(probs * load[:, None, :], axis=(1, 2)) / T, (s_softmax, load, scores.shape)


def balance_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, None]:
    """dp = dy load / T; the load is a constant."""
    s_softmax, load, shape = saved
    dprobs = (dy[:, None] * load)[:, None, :] / max(1, shape[1])  # (B, 1, E)
    return softmax_backward(xp, xp.broadcast_to(dprobs, shape), s_softmax), None


def router_z_forward(xp: Backend, scores: Array) -> tuple[Array, Saved]:
    """Keep the scores small, where floats are dense: loss = (log Σ exp z)².

    scores (..., E) -> loss (...)

    Zoph et al. 2022, "ST-MoE" (arXiv:2202.08906), eq. 5, whose mean over tokens is the caller's.
    """
    log_probs, (probs,) = log_softmax_forward(xp, scores)
    lse = xp.max(scores, axis=-1) - xp.max(log_probs, axis=-1)  # of one that is not -inf
    return lse * lse, (probs, lse)


def router_z_backward(xp: Backend, dy: Array, saved: Saved) -> Array:
    """dz = 2 dy p log Σ exp z."""
    probs, lse = saved
    return (2.0 * dy * lse)[..., None] * probs


def expert_load(xp: Backend, ids: Array, n_experts: int, dtype: object) -> Array:
    """Return what each expert was sent, in parts of an even share: ids (B, T, k) -> load (B, E)."""
    _, T, k = ids.shape
    sent = xp.sum(xp.astype(one_hot(xp, ids, n_experts), dtype), axis=(1, 2))
    return sent * (n_experts / max(1, k * T))


def device_load(xp: Backend, ids: Array, n_experts: int, routing: Routing, dtype: object) -> Array:
    """Return the mean load of each expert's group: ids (B, T, k) -> load (B, E)."""
    load = expert_load(xp, ids, n_experts, dtype)
    grouped = xp.reshape(load, (load.shape[0], routing.groups, n_experts // routing.groups))
    return _of_each_expert(xp, xp.mean(grouped, axis=-1), n_experts)


def travel_load(xp: Backend, ids: Array, n_experts: int, routing: Routing, dtype: object) -> Array:
    """Return how many tokens travelled to each expert's group: ids (B, T, k) -> load (B, E).

    In parts of an even share; a token that several experts of a group are sent travels once.
    """
    T, size = ids.shape[1], n_experts // routing.groups
    visited = xp.any(one_hot(xp, ids // size, routing.groups), axis=2)  # (B, T, groups)
    travelled = xp.sum(xp.astype(visited, dtype), axis=1)
    share = routing.groups / max(1, routing.groups_kept * T)
    return _of_each_expert(xp, travelled * share, n_experts)


def _of_each_expert(xp: Backend, of_group: Array, n_experts: int) -> Array:
    """Give each expert what its group has: of_group (B, groups) -> y (B, E)."""
    B, groups = of_group.shape
    wide = xp.broadcast_to(of_group[:, :, None], (B, groups, n_experts // groups))
    return xp.reshape(wide, (B, n_experts))
