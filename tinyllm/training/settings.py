"""What a run of training is to do: numbers that are checked once."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from tinyllm.backend import Params
from tinyllm.errors import UsageError
from tinyllm.training.objective import Objective, read_balance
from tinyllm.training.optimizers import OPTIMIZERS
from tinyllm.training.precision import PRECISIONS
from tinyllm.training.schedules import SCHEDULES

AVERAGES = ("none", "ema", "mean")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How to train. Raises UsageError for a number out of its range.

    A step is one change of the parameters, after `accum` batches of `batch_size` windows of
    `seq_len` tokens.
    """

    steps: int = 1000
    batch_size: int = 16
    seq_len: int = 256
    accum: int = 1
    lr: float = 1e-3  # the highest that the schedule reaches
    schedule: str = "cosine"
    warmup: int | None = None  # steps; None: a tenth of all, 100 at most
    floor: float = 0.1  # of lr, where the schedule ends
    optimizer: str = "adamw"
    weight_decay: float = 0.1  # AdamW's and Muon's
    clip: float = 1.0  # the largest norm of the gradient; 0: any
    dropout: float = 0.0
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    balance: str = ""  # the losses of mixtures of experts with their weights: expert=0.01,z=0.001
    average: str = "none"  # of the weights: ema, or the mean since `average_from`
    average_decay: float = 0.999  # ema's
    average_from: int = 0  # step
    seed: int = 0
    eval_every: int = 100  # steps; 0: only at the end
    eval_windows: int = 256  # at most
    save_every: int = 500  # steps; 0: only at the end
    patience: int = 0  # evaluations without a lower loss, after which to stop; 0: never
    overfit_one_batch: bool = False
    precision: str = "float32"  # of products: that of the weights, or 16 bits; see `precision`

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "seq_len", "accum", "eval_windows"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("average_from", "eval_every", "save_every", "patience"):
            self._check(name, getattr(self, name) >= 0, "at least 0")
        for name in ("weight_decay", "clip"):
            value = getattr(self, name)
            self._check(name, 0 <= value < math.inf, "at least 0 and finite")
        self._check("lr", 0 < self.lr < math.inf, "above 0 and finite")
        self._check("warmup", self.warmup is None or self.warmup >= 0, "at least 0")
        self._check("floor", 0 <= self.floor <= 1, "from 0 to 1")
        self._check("dropout", 0 <= self.dropout < 1, "at least 0 and below 1")
        self._check("average_decay", 0 <= self.average_decay < 1, "at least 0 and below 1")
        self.objective()  # which checks what it is made of
        self._check("seed", 0 <= self.seed < 2**64, f"0 to {2**64 - 1}")
        for name, choices in (
            ("schedule", tuple(SCHEDULES)), ("optimizer", tuple(OPTIMIZERS)), ("average", AVERAGES),
            ("precision", PRECISIONS),
        ):  # fmt: skip
            self._check(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise UsageError(f"{name} is {getattr(self, name)!r}, expected {expected}")

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, from 1 to `steps`."""
        warmup = min(100, self.steps // 10) if self.warmup is None else self.warmup
        return SCHEDULES[self.schedule](
            step, peak=self.lr, warmup=warmup, steps=self.steps, floor=self.floor
        )

    def update(self) -> Callable[..., Params]:
        """Return the optimiser's function, with the weight decay if it takes one."""
        optimizer = OPTIMIZERS[self.optimizer]
        if not optimizer.decays:
            return optimizer.update
        return partial(optimizer.update, weight_decay=self.weight_decay)

    def objective(self) -> Objective:
        """Return what is to become small. Raises UsageError for a word or number out of place."""
        return Objective(
            label_smoothing=self.label_smoothing, z_loss=self.z_loss,
            balance=read_balance(self.balance),
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
