"""Distillation: a model learns from what another makes of the same tokens.

    L = L_logits + c L_CE + α L_hidden,     α = L_logits / L_hidden

Muralidharan et al. 2024, "Compact language models via pruning and knowledge distillation"
(arXiv:2407.14679), eq. 5 to 8. The teacher is a constant, and so is α, which gives both terms the
same weight whatever their units are. Here it is each text's own, not that of a step: then no number
depends on how the texts are cut into batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.compression.hidden import State, matched_states, require_blocks, require_state
from tinyllm.errors import UsageError
from tinyllm.models.architecture import Config, architecture
from tinyllm.models.config import StackConfig
from tinyllm.models.experts import without_capacity
from tinyllm.models.stack import with_dstreams
from tinyllm.ops.distillation import (
    kl_backward,
    kl_forward,
    mean_square_backward,
    mean_square_forward,
    reverse_kl_backward,
    reverse_kl_forward,
)
from tinyllm.ops.linear import linear_backward, linear_forward
from tinyllm.ops.losses import IGNORED
from tinyllm.training.losses import Judged, next_token_loss
from tinyllm.training.objective import Objective

MAP = "distillation.map.weight"  # (D of the teacher, D of the student), one for all states
Pairs = tuple[tuple[int, int], ...]


class Divergence(NamedTuple):
    """One way to compare logits: see `tinyllm.ops.distillation`."""

    forward: Callable[..., tuple[Array, Saved]]
    backward: Callable[..., tuple[Array, None]]
    softens: bool = True  # whether it takes a temperature


LOGITS = {
    "kl": Divergence(kl_forward, kl_backward),
    "rkl": Divergence(reverse_kl_forward, reverse_kl_backward),
    "mse": Divergence(mean_square_forward, mean_square_backward, softens=False),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    """What a student is to have of its teacher. Raises UsageError where that is nothing.

    `hidden` are pairs of states, the student's and the teacher's: 0 is the embedding, i what block
    i - 1 gives, each after the norm that comes next. Where `streams` is true they are compared as
    they are, without norm or map.
    """

    logits: str | None = "kl"  # a row of LOGITS
    ce: float = 0.0  # how much the cross-entropy counts beside
    hidden: Pairs = ()
    streams: bool = False
    # How much hidden states count; None: L_logits / L_hidden, or 1 where no logits are compared.
    alpha: float | None = None
    temperature: float = 1.0
    squared: bool = False  # whether a divergence counts τ² times, as Hinton's does

    def __post_init__(self) -> None:
        if self.logits is None and not self.hidden and not self.ce:
            raise UsageError("there is no loss: nothing is learnt from the teacher")
        for name in ("ce", "temperature", "alpha"):
            value = getattr(self, name)
            if value is not None and not (value >= 0.0 and np.isfinite(value)):
                raise UsageError(f"{name} is {value}, expected 0 or more, and finite")
        if self.temperature == 0.0:
            raise UsageError("temperature is 0, expected more: logits are divided by it")

    @property
    def maps(self) -> bool:
        """Whether there is a linear map to learn between the widths of both."""
        return bool(self.hidden) and not self.streams


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model that is learnt from: its config, and its parameters as a tree."""

    config: Config
    p: dict[str, Any]

    def __call__(self, xp: Backend, tokens: Array, states: bool) -> tuple[Array, Saved]:
        """Score tokens; keep what the forward pass saves only where its states are wanted.

        Experts drop no token, for a teacher is not trained.
        """
        model = architecture(self.config)
        if states:
            config = without_capacity(cast("StackConfig", self.config))
            return model.forward(xp, tokens, self.p, config)
        hidden = model.hidden_states(xp, tokens, self.p, self.config)
        return model.head(xp, hidden, self.p, self.config)[0], None


def require_fit(student: Config, teacher: Config, what: Distillation) -> None:
    """Raise UsageError where a student cannot learn this from a teacher."""
    if student.vocab_size != teacher.vocab_size:
        raise UsageError(
            f"the teacher has {teacher.vocab_size} tokens and the student {student.vocab_size}: "
            f"distillation needs one vocabulary"
        )
    if what.hidden:
        require_blocks(student, "student")
        require_blocks(teacher, "teacher")
    last = getattr(student, "n_layers", 0), getattr(teacher, "n_layers", 0)
    for pair in what.hidden:
        if not all(0 <= i <= n for i, n in zip(pair, last, strict=True)):
            raise UsageError(
                f"states {pair[0]}:{pair[1]} are not there: the student has 0 to {last[0]}, the "
                f"teacher 0 to {last[1]}"
            )
        for config, index in zip((student, teacher), pair, strict=True):
            require_state(cast("StackConfig", config), index, normed=not what.streams)
    if what.streams and student.d_model != teacher.d_model:
        raise UsageError("the residual streams of student and teacher are not equally wide")


def init_map(student: Config, teacher: Config, *, seed: int, dtype: Any) -> Params:
    """Return the first map of hidden states: the identity, or a random one between two widths."""
    D, C = teacher.d_model, student.d_model
    drawn = np.random.default_rng(seed).standard_normal((D, C)) / np.sqrt(C)
    return {MAP: (np.eye(D) if D == C else drawn).astype(dtype)}


def distillation_loss(
    xp: Backend,
    logits: Array,
    saved: Saved,
    tokens: Array,
    targets: Array,
    p: dict[str, Any],
    objective: Objective,
    *,
    teacher: Teacher,
    what: Distillation,
) -> Judged:
    """Judge a student by its teacher: Σ over the targets that count of L_logits + c L_CE + α L_is.

    logits (B, T, V), tokens (B, T), targets (B, T)

    What each part comes to is in `terms`, without c and α.
    """
    counted = xp.astype(targets != IGNORED, logits.dtype)  # (B, T)
    taught, seen = teacher(xp, tokens, bool(what.hidden))
    dlogits, terms, loss = xp.zeros_like(logits), {}, 0.0
    of_text = xp.zeros_like(counted[:, 0])  # (B,) what the logits cost
    if what.logits is not None:
        per_token, d = _compared(xp, logits, taught, counted, what)
        of_text = xp.sum(per_token, axis=1)
        dlogits = dlogits + d
        terms[what.logits] = float(xp.sum(of_text))
        loss += terms[what.logits]
    if what.ce:
        judged = next_token_loss(xp, logits, saved, tokens, targets, p, objective)
        dlogits = dlogits + what.ce * judged.dlogits
        terms["ce"] = judged.loss
        loss += what.ce * judged.loss
    grads: Params = {}
    if what.hidden:
        added, terms["hidden"], grads, dstreams = _hidden(
            xp, saved, seen, p, counted, of_text, what
        )
        loss += added
        saved = with_dstreams(saved, dstreams)
    return Judged(loss=loss, dlogits=dlogits, saved=saved, grads=grads, terms=terms)


def _compared(
    xp: Backend, logits: Array, taught: Array, counted: Array, what: Distillation
) -> tuple[Array, Array]:
    """Return what each token's logits cost, (B, T), and the gradient of the sum."""
    assert what.logits is not None
    divergence = LOGITS[what.logits]
    options = {"temperature": what.temperature} if divergence.softens else {}
    weight = counted * (what.temperature**2 if what.squared else 1.0)
    loss, saved = divergence.forward(xp, logits, taught, **options)
    return loss * weight, divergence.backward(xp, weight, saved)[0]


def _hidden(
    xp: Backend,
    saved: Saved,
    seen: Saved,
    p: dict[str, Any],
    counted: Array,
    of_text: Array,
    what: Distillation,
) -> tuple[float, float, Params, dict[int, Array]]:
    """Return α L_is, L_is, and the gradients: of parameters, and of the residual stream."""
    normed = not what.streams
    weight = p["distillation"]["map"]["weight"] if normed else None
    parts: list[tuple[State, Saved, Saved, Array]] = []
    for state, target in matched_states(xp, saved, seen, what.hidden, normed=normed):
        x, s_map = (state.x, None) if weight is None else linear_forward(xp, state.x, weight)
        loss, s_loss = mean_square_forward(xp, x, target)
        parts.append((state, s_map, s_loss, loss * counted))
    costs = xp.sum(sum(loss for *_, loss in parts[1:]) + parts[0][-1], axis=1)  # (B,)
    alpha = _alpha(xp, of_text, costs, what)
    grads: Params = {}
    dstreams: dict[int, Array] = {}
    for state, s_map, s_loss, _ in parts:
        d, _ = mean_square_backward(xp, alpha[:, None] * counted, s_loss)
        if s_map is not None:
            d, dmap, _ = linear_backward(xp, d, s_map)
            grads[MAP] = grads[MAP] + dmap if MAP in grads else dmap
        d, of_norm = state.back(d)
        for name, grad in of_norm.items():
            grads[name] = grads[name] + grad if name in grads else grad
        dstreams[state.index] = dstreams[state.index] + d if state.index in dstreams else d
    return float(xp.sum(alpha * costs)), float(xp.sum(costs)), grads, dstreams


def _alpha(xp: Backend, of_logits: Array, of_hidden: Array, what: Distillation) -> Array:
    """Return α of each text, a constant: (B,)."""
    if what.alpha is not None or what.logits is None:
        return xp.ones_like(of_hidden) * (1.0 if what.alpha is None else what.alpha)
    none = of_hidden <= 0.0
    ratio = of_logits / xp.where(none, xp.ones_like(of_hidden), of_hidden)
    return xp.where(none, xp.zeros_like(ratio), ratio)


def loss_of(teacher: Teacher, what: Distillation) -> Any:
    """Return the loss of a trainer: `distillation_loss` of this teacher."""
    return partial(distillation_loss, teacher=teacher, what=what)
