"""What a forward pass is judged by: a function of the scores of a batch, and of what it saved."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.training.objective import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A loss, summed over the targets that count, and what it sends back into the model."""

    loss: float
    dlogits: Array  # (B, T, V)
    saved: Saved  # of the forward pass, maybe with gradients laid beside
    grads: Params = field(default_factory=dict)  # of parameters, beside what comes back by these
    terms: dict[str, float] = field(default_factory=dict)  # what the loss is made of, summed, too


class Loss(Protocol):
    """A loss of tokens (B, T) whose targets (B, T) are scored by logits (B, T, V)."""

    def __call__(
        self,
        xp: Backend,
        logits: Array,
        saved: Saved,
        tokens: Array,
        targets: Array,
        p: dict[str, Any],
        objective: Objective,
    ) -> Judged:
        """Judge a forward pass on the parameter tree `p`, which saved `saved`."""
        ...


def next_token_loss(
    xp: Backend,
    logits: Array,
    saved: Saved,
    tokens: Array,
    targets: Array,
    p: dict[str, Any],
    objective: Objective,
) -> Judged:
    """Judge by the targets alone: the cross-entropy, in nats.

    logits (B, T, V), targets (B, T)
    """
    loss, dlogits = xp.summed_cross_entropy(
        logits, targets, label_smoothing=objective.label_smoothing, z_loss=objective.z_loss
    )
    return Judged(loss=float(loss), dlogits=dlogits, saved=saved)
