"""Which weights go: in every group of scores the lowest, exactly as many as asked for.

What is compared with what is the whole difference between the patterns:

    unstructured, by row       the weights that make one output feature
    unstructured, by matrix    all weights of the matrix
    N:M                        M consecutive weights of a row, of which hardware can skip N
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.errors import UsageError

ROW, MATRIX = "row", "matrix"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unstructured:
    """This share of the weights of each row, or of each matrix, becomes zero."""

    sparsity: float
    within: str = ROW

    def __post_init__(self) -> None:
        if not 0.0 <= self.sparsity < 1.0:  # nan too
            raise UsageError(f"sparsity is {self.sparsity}, expected 0 ≤ sparsity < 1")
        if self.within not in (ROW, MATRIX):
            raise UsageError(f"within is {self.within!r}, expected {ROW!r} or {MATRIX!r}")

    def group(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return how many weights are compared with each other, and how many of them go."""
        size = shape[1] if self.within == ROW else shape[0] * shape[1]
        return size, math.floor(size * self.sparsity + max(1e-9, size * 2**-52))  # 100 · 0.29 = 29


@dataclass(frozen=True, kw_only=True, slots=True)
class NofM:
    """Of every `of` consecutive inputs of an output feature, `zeros` become zero: 2:4, 4:8."""

    zeros: int
    of: int

    def __post_init__(self) -> None:
        if not 0 < self.zeros < self.of:
            raise UsageError(f"pattern {self.zeros}:{self.of} is not N:M with 0 < N < M")

    @property
    def sparsity(self) -> float:
        """The share of weights that become zero."""
        return self.zeros / self.of

    def group(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return how many weights are compared with each other, and how many of them go.

        Raises UsageError where a row does not consist of whole groups.
        """
        if shape[1] % self.of:
            raise UsageError(
                f"pattern {self.zeros}:{self.of} needs rows of a multiple of {self.of} weights, "
                f"and these have {shape[1]}"
            )
        return self.of, self.zeros


Pattern = Unstructured | NofM


def read_pattern(name: str, sparsity: float | None, within: str = ROW) -> Pattern:
    """Return the pattern that a user names: "unstructured" (half, unless told) or "2:4".

    Raises UsageError for another name, or a sparsity that is not the pattern's.
    """
    if name == "unstructured":
        return Unstructured(sparsity=0.5 if sparsity is None else sparsity, within=within)
    parts = re.fullmatch(r"([0-9]{1,4}):([0-9]{1,4})", name)
    if parts is None:
        raise UsageError(f"pattern is {name!r}, expected unstructured, or N:M like 2:4 and 4:8")
    pattern = NofM(zeros=int(parts[1]), of=int(parts[2]))
    if sparsity not in (None, pattern.sparsity):
        raise UsageError(f"pattern {name} has sparsity {pattern.sparsity:g}, and not {sparsity:g}")
    return pattern


def lowest(scores: Any, pattern: Pattern) -> Any:
    """Mark the lowest scores of each group; of equal ones, those that come first in their row.

    scores (D, C) -> mask (D, C)
    """
    size, count = pattern.group(scores.shape)
    order = np.argsort(scores.reshape(-1, size), axis=1, kind="stable")
    mask = np.zeros(order.shape, bool)
    np.put_along_axis(mask, order[:, :count], True, axis=1)
    return mask.reshape(scores.shape)


def pruned(weight: Any, mask: Any) -> Any:
    """Put zeros where the mask is True: weight (D, C), mask (D, C) -> pruned (D, C)."""
    return np.where(mask, np.zeros((), weight.dtype), weight)
