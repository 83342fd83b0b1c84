"""The loop: a batch, its gradient, a step; again.

    trainer = Trainer(xp, config, params, Windows(tokens, 256), Settings(steps=1000))
    for report in trainer:
        print(report.step, report.loss)
    trainer.params

All that a trainer is, beside what it was given, is in its attributes; `tinyllm.training.snapshot`
writes and reads them. Random numbers are drawn from (seed, step), so there is no state of a
generator to keep.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tinyllm.backend import Backend, Params
from tinyllm.errors import UsageError
from tinyllm.models.architecture import Config
from tinyllm.training.averaging import start_average, update_average
from tinyllm.training.clipping import clip_factor, global_norm, scaled
from tinyllm.training.divergence import DivergedError, first_not_finite
from tinyllm.training.gradients import Gradients, added, batch_gradients, pieces
from tinyllm.training.loss_scale import LossScale
from tinyllm.training.losses import Loss, next_token_loss
from tinyllm.training.optimizers import OPTIMIZERS
from tinyllm.training.parts import WHOLE, Parts
from tinyllm.training.precision import mixed_precision
from tinyllm.training.settings import Settings
from tinyllm.training.validation import mean_loss
from tinyllm.training.windows import Position

DROPOUT = 1  # which of a run's streams of random numbers this is; see `windows.ORDER`


class Data(Protocol):
    """Where batches come from: `Windows`, or anything else that knows its place by two numbers."""

    def batch(self, position: Position, size: int) -> tuple[Any, Any, Position]:
        """Return tokens (B, T) and targets (B, T) from `position` on, and the position after."""
        ...


class HeldOut(Protocol):
    """What to evaluate on: `WindowsInOrder`, or anything else that can be had in batches."""

    def batches(self, size: int, limit: int) -> list[tuple[Any, Any]]:
        """Return tokens (B, T) and targets (B, T) of the first `limit` texts, `size` at a time."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a step was like."""

    step: int
    loss: float  # nats per token, before the step
    lr: float
    grad_norm: float | None  # before clipping; None where the step was skipped
    counted: int  # targets of the step
    tokens: int  # targets of all steps so far
    balance: dict[str, float] | None = None  # the losses of mixtures of experts that were asked for
    expert_load: list[list[float]] | None = None  # by layer; 1 is an even share
    loss_scale: float | None = None  # of the step's gradient, in float16
    terms: dict[str, float] | None = None  # what a loss of several is made of, per token
    val_loss: float | None = None  # after the step, where it was a step to evaluate


class Trainer:
    """A model in training: iterate over it, and it takes a step each time.

    `params` are what changes, all of a model unless `parts` say how they are in it; `loss` is what
    is to become small. `facts`, JSON values, are kept in snapshots; a run that is resumed must have
    the same.

    Raises DivergedError where a loss or a gradient is not finite. The parameters are then those
    before the step; where the loss on validation data is not finite, they are those after it. In
    float16 a gradient that is not finite only skips the step, while a smaller loss scale is left to
    try.
    """

    def __init__(
        self,
        xp: Backend,
        config: Config,
        params: Params,
        data: Data,
        settings: Settings,
        *,
        validation: HeldOut | None = None,
        parts: Parts = WHOLE,
        loss: Loss = next_token_loss,
        facts: dict[str, Any] | None = None,
    ) -> None:
        if settings.objective().balance.weights() and getattr(config, "experts", None) is None:
            raise UsageError(f"balance is {settings.balance!r}, and the model has no experts")
        if settings.objective().balance.weights() and settings.precision == "float16":
            raise UsageError("balance is not scaled with the loss: use precision bfloat16")
        if loss is not next_token_loss and settings.precision == "float16":
            raise UsageError("of losses only that of next tokens is scaled: use precision bfloat16")
        if settings.patience and validation is None:
            raise UsageError("patience needs validation data: it waits for their loss to fall")
        self.xp, self.config, self.data, self.settings = xp, config, data, settings
        self.mixed = None if settings.precision == "float32" else mixed_precision(
            xp, config, params, settings.precision
        )  # fmt: skip
        self.loss_scale = LossScale() if settings.precision == "float16" else None
        self.validation = validation
        self.parts, self.loss, self.facts = parts, loss, facts or {}
        self.params: Params = {name: xp.asarray(p) for name, p in params.items()}
        self.update = settings.update()
        self.state = OPTIMIZERS[settings.optimizer].init(xp, self.params)
        self.average: dict[str, Any] | None = None
        self.step, self.tokens = 0, 0
        self.position: Position = (0, 0)
        self.best, self.since_best = math.inf, 0
        self.evaluation_seconds = 0.0  # of this process, to tell apart from those of steps

    def __iter__(self) -> Iterator[Report]:
        """Take steps until there have been `settings.steps`, or patience is at its end."""
        while not self.done:
            yield self.advance()

    @property
    def done(self) -> bool:
        """Whether all steps were taken, or the loss has not fallen for too long."""
        patience = self.settings.patience
        return self.step >= self.settings.steps or 0 < patience <= self.since_best

    @property
    def result(self) -> Params:
        """The parameters to use: averaged ones where the settings say so."""
        return self.params if self.average is None else self.average["params"]

    def advance(self) -> Report:
        """Take one step."""
        xp, settings, step = self.xp, self.settings, self.step + 1
        scale = None if self.loss_scale is None else self.loss_scale.scale
        found, position = self._gradients(step, scale)
        loss, units = found.loss_sum / max(1, found.count), max(1, found.count) * (scale or 1.0)
        norm = global_norm(xp, found.grads) / units
        finite = math.isfinite(loss + norm)
        if not finite and not self._can_skip(loss):
            raise self._diverged(step, loss, norm, found.grads)
        lr = settings.learning_rate(step)
        if finite:
            factor = clip_factor(norm, settings.clip) if settings.clip else 1.0
            grads = scaled(xp, found.grads, factor / units)
            self.params = self.update(xp, self.params, grads, self.state, lr=lr)
        self.step, self.position, self.tokens = step, position, self.tokens + found.count
        if finite:
            self._update_average()
        if self.loss_scale is not None:
            self.loss_scale.update(finite=finite)
        return Report(
            step=step, loss=loss, lr=lr, grad_norm=norm if finite else None, loss_scale=scale,
            counted=found.count, tokens=self.tokens,
            terms={name: x / max(1, found.count) for name, x in found.terms.items()} or None,
            val_loss=self._evaluate_if_due(), **_of_experts(found),
        )  # fmt: skip

    def _can_skip(self, loss: float) -> bool:
        """Say whether a gradient that is not finite may be the fault of the loss scale."""
        return math.isfinite(loss) and self.loss_scale is not None and self.loss_scale.can_fall

    def evaluate(self) -> float:
        """Return the loss on the validation data, in nats per token."""
        assert self.validation is not None
        start = time.perf_counter()
        size = max(1, self.settings.batch_size // 2)  # for two batches at once
        batches = self.validation.batches(size, self.settings.eval_windows)
        loss = mean_loss(self.mixed or self.xp, self.config, self._tree(self.result), batches)
        self.evaluation_seconds += time.perf_counter() - start
        return loss

    def _tree(self, params: Params) -> dict[str, Any]:
        """Return the parameter tree that is computed with: 16-bit copies where products are so."""
        return self.parts.tree(params if self.mixed is None else self.mixed.copies(params))

    def _gradients(self, step: int, scale: float | None = None) -> tuple[Gradients, Position]:
        """Sum over the micro-batches of a step; return the position behind them, too."""
        settings, tree, position = self.settings, self._tree(self.params), self.position
        total: Gradients | None = None
        for micro, (tokens, targets, behind) in enumerate(self._micro_batches()):
            found = batch_gradients(
                self.mixed or self.xp, self.config, tree, tokens, targets, loss=self.loss,
                objective=settings.objective(), seed=(settings.seed, DROPOUT, step, micro),
                dropout=settings.dropout, loss_scale=scale,
            )  # fmt: skip
            found = replace(found, grads={name: found.grads[name] for name in self.params})
            total, position = found if total is None else added([total, found]), behind
        assert total is not None
        return total, position

    def _micro_batches(self) -> Iterator[tuple[Any, Any, Position]]:
        """Yield tokens, targets and the position behind them of each micro-batch of a step."""
        position: Position = (0, 0) if self.settings.overfit_one_batch else self.position
        for _ in range(self.settings.accum):
            tokens, targets, position = self.data.batch(position, self.settings.batch_size)
            yield tokens, targets, position

    def _update_average(self) -> None:
        settings = self.settings
        if settings.average == "none" or self.step < settings.average_from:
            return
        if self.average is None:
            self.average = start_average(self.params)
        else:
            decay = settings.average_decay if settings.average == "ema" else 1.0
            update_average(self.xp, self.average, self.params, decay=decay)

    def _evaluate_if_due(self) -> float | None:
        every = self.settings.eval_every
        due = self.step >= self.settings.steps or (every and self.step % every == 0)
        if self.validation is None or not due:
            return None
        loss = self.evaluate()
        if not math.isfinite(loss):
            raise DivergedError(f"step {self.step}: the loss on the validation data is {loss}")
        if loss < self.best:
            self.best, self.since_best = loss, 0
        else:
            self.since_best += 1
        return loss

    def _diverged(self, step: int, loss: float, norm: float, grads: Params) -> DivergedError:
        """Say where the first number is that is not finite."""
        xp, tree = self.mixed or self.xp, self._tree(self.params)
        where = first_not_finite(xp, self.config, tree, grads, self._pieces())
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient is {norm} long"
        return DivergedError(f"step {step}: {what}: {where}")

    def _pieces(self) -> Iterator[Any]:
        """Yield the tokens of a step, as many texts at a time as it has in work at once."""
        for tokens, targets, _ in self._micro_batches():
            B, T = targets.shape
            rows = pieces(self.xp, B, T, dropout=self.settings.dropout)[0] // T
            for first in range(0, B, rows):
                yield tokens[first : first + rows]


def _of_experts(found: Gradients) -> dict[str, Any]:
    """Return the fields of a report that only models with mixtures of experts have."""
    if found.routed is None:
        return {}
    losses = {name: x / max(1, found.count) for name, x in found.routed.losses.items()}
    load = [[round(x, 4) for x in layer] for layer in found.routed.load.tolist()]
    return {"balance": losses or None, "expert_load": load}
