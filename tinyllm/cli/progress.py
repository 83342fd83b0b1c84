"""How far a run of training is, in one line."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyllm.training.trainer import Report

KEPT = 0.9  # of the speed so far, at each step: about ten steps count


class Progress:
    """The speed and what is left, from the seconds that steps took."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._seconds = self._counted = 0.0  # of the steps so far, older ones counting less
        self._taken = 0

    def line(self, report: "Report", seconds: float, evaluations: float = 0.0) -> str:
        """Return what a step was like; its `seconds` may be of a clock that goes backwards.

        `evaluations` took so long so far: that is not the speed of steps, but time that is left.
        """
        self._taken += 1
        self._seconds = KEPT * self._seconds + max(0.0, seconds)
        self._counted = KEPT * self._counted + 1
        per_step = self._seconds / self._counted
        with_all = per_step + evaluations / self._taken
        parts = [
            f"step {report.step}/{self._steps}",
            f"loss {report.loss:.4f}",
            f"lr {report.lr:.2e}",
            "skipped: overflow" if report.grad_norm is None else f"norm {report.grad_norm:.2f}",
            f"{report.counted / per_step:,.0f} tok/s" if per_step else "",
            f"{duration(with_all * (self._steps - report.step))} left",
            "" if report.val_loss is None else f"validation {report.val_loss:.4f}",
        ]
        return " · ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Return a time as two units at most.

    >>> duration(7384), duration(59.6), duration(-1)
    ('2 h 03 min', '1 min 00 s', '0 s')
    """
    whole = max(0, math.ceil(seconds - 0.5))
    if whole < 60:
        return f"{whole} s"
    big, small = divmod(whole, 60) if whole < 3600 else divmod(whole // 60, 60)
    return f"{big} min {small:02} s" if whole < 3600 else f"{big} h {small:02} min"
