"""Routing: which few of the experts a token is sent to, and how much each of them counts.

A router gives every expert a score for every token. The k best are chosen, which has no gradient;
what they give is added up, weighted by softmax of the scores, which has one:

    Mixtral       w = softmax(z) of the chosen, divided by their sum     renormalise=True
    DeepSeek-V2   w = softmax(z) of the chosen, times a constant         renormalise=False, scale=16

To take the softmax of the k chosen scores alone is the same as to renormalise.
"""

from dataclasses import dataclass

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.softmax import softmax_backward, softmax_forward


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """How experts are chosen and weighted.

    The experts may stand in `groups` of equal size, in the order of their numbers, one group to a
    device: then only the `groups_kept` best groups of a token are open to it.
    """

    k: int  # experts for each token
    renormalise: bool  # whether a token's weights sum to 1, before they are scaled
    scale: float = 1.0
    groups: int = 1
    groups_kept: int = 1
    capacity: float | None = None  # of an expert in training, in even shares; None: all it is sent


def choose_experts(xp: Backend, scores: Array, routing: Routing) -> Array:
    """Return the k experts with the highest scores, the best first; of equals the lowest number.

    scores (N, E) -> ids (N, k)

    Of groups, those count whose best expert is best (DeepSeek-AI 2024, "DeepSeek-V2"
    (arXiv:2405.04434), section 2.2.2).
    """
    N, E = scores.shape
    if routing.groups_kept < routing.groups:
        grouped = xp.reshape(scores, (N, routing.groups, E // routing.groups))
        open_groups = xp.top_k(xp.max(grouped, axis=-1), routing.groups_kept)
        is_open = xp.any(one_hot(xp, open_groups, routing.groups), axis=1)  # (N, groups)
        grouped = xp.where(is_open[:, :, None], grouped, xp.asarray(-xp.inf, dtype=scores.dtype))
        scores = xp.reshape(grouped, (N, E))
    return xp.top_k(scores, routing.k)


def one_hot(xp: Backend, ids: Array, n: int) -> Array:
    """Say where each id points: ids (..., k) -> truths (..., k, n)."""
    return ids[..., None] == xp.arange(n)


def expert_weights_forward(
    xp: Backend, scores: Array, ids: Array, *, renormalise: bool, scale: float = 1.0
) -> tuple[Array, Saved]:
    """Weight the chosen experts: w = scale · p[ids], or scale · p[ids] / Σ p[ids], p = softmax(z).

    scores (N, E), ids (N, k) -> weights (N, k)

    Jiang et al. 2024, "Mixtral of Experts" (arXiv:2401.04088), section 2.1, renormalised;
    DeepSeek-AI 2024, "DeepSeek-V2" (arXiv:2405.04434), eq. 20-22, not.
    """
    probs, s_softmax = softmax_forward(xp, scores)
    hit = one_hot(xp, ids, scores.shape[-1])  # (N, k, E)
    weights = xp.sum(xp.where(hit, probs[:, None, :], xp.zeros_like(probs)[:, None, :]), axis=-1)
    total = None
    if renormalise:
        total = xp.sum(weights, axis=-1, keepdims=True)
        weights = weights / total
    return weights * scale, (s_softmax, hit, weights, total, scale)


def expert_weights_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, None]:
    """dp = dw on the chosen, or (dw - Σ dw w) / Σ p where they are renormalised; 0 elsewhere."""
    s_softmax, hit, weights, total, scale = saved
    dw = dy * scale
    if total is not None:
        dw = (dw - xp.sum(dw * weights, axis=-1, keepdims=True)) / total
    dprobs = xp.sum(xp.where(hit, dw[:, :, None], xp.zeros_like(dw)[:, :, None]), axis=1)
    return softmax_backward(xp, dprobs, s_softmax), None
