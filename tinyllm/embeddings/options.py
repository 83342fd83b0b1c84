"""Checks that word2vec and GloVe share: each raises one line that says what is wrong."""

import math
from typing import Any

from tinyllm.errors import UsageError
from tinyllm.shown import shown


def check_whole(options: Any, *names: str) -> None:
    """Raise UsageError unless each named option is a whole number of at least 1."""
    for name in names:
        value = getattr(options, name)
        if type(value) is not int or value < 1:
            raise UsageError(f"{name} is {shown(value)}, expected a whole number of at least 1")


def check_positive(options: Any, *names: str) -> None:
    """Raise UsageError unless each named option is a finite number above 0."""
    for name in names:
        value = getattr(options, name)
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"{name} is {value}, expected a number above 0")


def check_loss(loss: float, epoch: int) -> None:
    """Raise UsageError where a loss is no number any more: what follows would be for nothing."""
    if not math.isfinite(loss):
        raise UsageError(f"the loss is {loss} in pass {epoch}: lower lr, or batch_size")


def check_seed(seed: int) -> None:
    """Raise UsageError for a seed that NumPy does not take."""
    if seed < 0:
        raise UsageError(f"seed is {seed}, expected at least 0")
