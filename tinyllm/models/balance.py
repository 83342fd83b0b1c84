"""What a decoder's mixtures of experts add to its loss, so that no router has favourites.

    logits, saved = decoder_forward(xp, tokens, p, config)
    loss, dlogits = xp.summed_cross_entropy(logits, targets)
    routed, saved = balanced(xp, saved, Balance(expert=0.01), counted)
    _, grads = decoder_backward(xp, dlogits, saved)

A forward pass saves the routers' scores. The losses are made of these, and their gradients are laid
beside them, where the backward pass of each mixture finds its own: no block knows of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from tinyllm.backend import Array, Backend, Saved
from tinyllm.errors import UsageError
from tinyllm.layers.moe import with_dscores
from tinyllm.ops.balance import (
    balance_backward,
    balance_forward,
    device_load,
    expert_load,
    router_z_backward,
    router_z_forward,
    travel_load,
)
from tinyllm.ops.routing import Routing


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """How much each loss counts beside the cross-entropy; see `tinyllm.ops.balance`.

    expert, device and travel are of one text in one layer, and z of one token in one layer; layers
    are added up. mixtral is the expert loss as transformers has it: k times as large, of all tokens
    in work and all layers at once. Raises UsageError for a weight below 0 or not finite.
    """

    expert: float = 0.0
    device: float = 0.0
    travel: float = 0.0
    mixtral: float = 0.0
    z: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in self.weights().items():
            if not 0.0 <= weight < np.inf:
                raise UsageError(f"balance has {name}={weight}, expected 0 or more")

    def weights(self) -> dict[str, float]:
        """Return those that are not 0, by name."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: weight for name, weight in given.items() if weight != 0.0}

    def of(self, losses: dict[str, float]) -> float:
        """Return what these losses come to, each with its weight."""
        return sum(weight * losses[name] for name, weight in self.weights().items())


NO_BALANCE = Balance()


@dataclass(frozen=True, kw_only=True, slots=True)
class Routed:
    """What the routers did, and what it cost: sums, which those of other texts can be added to."""

    losses: dict[str, float]  # by name, unweighted, times the targets that count
    sent: np.ndarray  # (layers with experts, E) how many tokens

    def __add__(self, other: "Routed") -> "Routed":
        losses = {name: loss + other.losses[name] for name, loss in self.losses.items()}
        return Routed(losses=losses, sent=self.sent + other.sent)

    @property
    def load(self) -> np.ndarray:
        """What each expert was sent, in parts of an even share: (layers with experts, E)."""
        return self.sent / np.maximum(1e-300, self.sent.mean(axis=1, keepdims=True))


def balanced(
    xp: Backend, saved: Saved, balance: Balance, counted: Array
) -> tuple[Routed | None, Saved]:
    """Add up the losses of a decoder's routers; lay their weighted gradients into what was saved.

    counted (B,), the targets of each text that count: a text's losses are multiplied by them, so
    that divided by all targets, as the cross-entropy is, they are the mean over texts. None for a
    decoder without mixtures.
    """
    mixtures = [s["mlp"] for s in saved["layers"] if "scores" in s.get("mlp", {})]
    if not mixtures:
        return None, saved
    routing: Routing = saved["config"].experts.routing
    B, T, _ = mixtures[0]["shape"]
    E = mixtures[0]["scores"].shape[-1]
    scores = [xp.reshape(s["scores"], (B, T, E)) for s in mixtures]
    ids = [xp.reshape(s["ids"], (B, T, routing.k)) for s in mixtures]
    losses, dscores = {}, [xp.zeros_like(z) for z in scores]
    for name, weight in balance.weights().items():
        losses[name], found = _LOSSES[name](xp, scores, ids, routing, counted)
        dscores = [d + weight * other for d, other in zip(dscores, found, strict=True)]
    sent = [np.bincount(xp.to_numpy(i).reshape(-1), minlength=E) for i in ids]
    gradients = iter(xp.reshape(d, (B * T, E)) for d in dscores)
    layers = [
        s | {"mlp": with_dscores(s["mlp"], next(gradients))} if "scores" in s.get("mlp", {}) else s
        for s in saved["layers"]
    ]
    return Routed(losses=losses, sent=np.stack(sent)), saved | {"layers": layers}


def unbalanced(xp: Backend, saved: Saved, balance: Balance, counted: Array) -> tuple[None, Saved]:
    """Do nothing: the model's kind has no mixtures."""
    return None, saved


def _of_each_text(load: Callable[..., Array]) -> Callable[..., tuple[float, list[Array]]]:
    """Return the function for a loss of one text in one layer, with this load."""

    def losses(
        xp: Backend, scores: list[Array], ids: list[Array], routing: Routing, counted: Array
    ) -> tuple[float, list[Array]]:
        total, gradients = 0.0, []
        for z, chosen in zip(scores, ids, strict=True):
            loss, saved = balance_forward(xp, z, load(xp, chosen, z.shape[-1], routing, z.dtype))
            total += float(xp.sum(loss * counted))
            gradients.append(balance_backward(xp, counted, saved)[0])
        return total, gradients

    return losses


def _as_mixtral(
    xp: Backend, scores: list[Array], ids: list[Array], routing: Routing, counted: Array
) -> tuple[float, list[Array]]:
    """Take the tokens of all texts and layers for one text (transformers, modeling_mixtral)."""
    B, T, E = scores[0].shape
    z, chosen = (_one_text(xp, arrays) for arrays in (scores, ids))
    loss, saved = balance_forward(xp, z, expert_load(xp, chosen, E, z.dtype))
    times = routing.k * xp.sum(counted)
    dz = balance_backward(xp, xp.expand_dims(times, axis=0), saved)[0]
    dz = xp.reshape(dz, (len(scores), B, T, E))
    return float(times * loss[0]), [dz[i, ...] for i in range(len(scores))]


def _one_text(xp: Backend, arrays: list[Array]) -> Array:
    """Join arrays (B, T, n) of all layers: -> y (1, layers B T, n)."""
    joined = xp.concat(arrays)
    return xp.reshape(joined, (1, joined.shape[0] * joined.shape[1], joined.shape[2]))


def _of_z(
    xp: Backend, scores: list[Array], ids: list[Array], routing: Routing, counted: Array
) -> tuple[float, list[Array]]:
    """Take the mean over the tokens of a text."""
    total, gradients = 0.0, []
    for z in scores:
        loss, saved = router_z_forward(xp, z)  # (B, T)
        dy = xp.broadcast_to(counted[:, None] / z.shape[1], loss.shape)
        total += float(xp.sum(loss * dy))
        gradients.append(router_z_backward(xp, dy, saved))
    return total, gradients


_LOSSES = {
    "expert": _of_each_text(lambda xp, ids, n, routing, dtype: expert_load(xp, ids, n, dtype)),
    "device": _of_each_text(device_load),
    "travel": _of_each_text(travel_load),
    "mixtral": _as_mixtral,
    "z": _of_z,
}
