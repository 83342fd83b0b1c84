"""Batches out of one long row of tokens: windows of equal length, in a shuffled order.

    tokens   5 3 8 1 9 2 7 …          window 0   inputs 5 3 8   targets 3 8 1
                                      window 1   inputs 1 9 2   targets 9 2 7

A place in the data is two whole numbers, the epoch and how many of its windows were seen: the order
of an epoch is drawn from (seed, epoch) alone, so a run that is resumed sees what it would have.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyllm.errors import UsageError
from tinyllm.training.tasks import Task, next_tokens

ORDER = 0  # which of a run's streams of random numbers this is
Position = tuple[int, int]  # epoch, windows of it that were seen


class Windows:
    """Shuffled windows of `seq_len` tokens, and what `task` makes of them: by default, targets one
    token further on.

    tokens (N,), which may be a mapped file

    Each epoch starts at another token, so that windows do not end at the same places for ever; the
    tokens that do not fill a window are left out of that epoch. Raises UsageError where there are
    too few tokens for one window.
    """

    def __init__(
        self, tokens: Any, seq_len: int, *, seed: int = 0, task: Task = next_tokens
    ) -> None:
        if seq_len < 1:
            raise UsageError(f"seq_len is {seq_len}, expected at least 1")
        if len(tokens) < seq_len + 1:
            raise UsageError(
                f"the data have {len(tokens)} tokens, and one window of seq_len {seq_len} takes "
                f"{seq_len + 1} with its last target: use more data or a smaller seq_len"
            )
        self.tokens, self.seq_len, self.seed, self.task = tokens, seq_len, seed, task
        self._epoch: tuple[int, Any] = (-1, None)

    def batch(self, position: Position, size: int) -> tuple[Any, Any, Position]:
        """Return the next `size` windows and the position behind them, maybe in a later epoch.

        -> tokens (B, T), targets (B, T)
        """
        starts, behind = next_in_order(self._order, position, size)
        rows = np.stack([self.tokens[i : i + self.seq_len + 1] for i in starts]).astype(np.int64)
        return *self.task(rows, position), behind

    def _order(self, epoch: int) -> Any:
        """Return where the windows of an epoch start, in their order."""
        if self._epoch[0] != epoch:
            rng = np.random.default_rng([self.seed, ORDER, epoch])
            spare = len(self.tokens) - 1 - self.seq_len
            offset = int(rng.integers(min(self.seq_len, spare + 1)))
            count = (len(self.tokens) - 1 - offset) // self.seq_len
            self._epoch = epoch, offset + self.seq_len * rng.permutation(count)
        return self._epoch[1]


class WindowsInOrder:
    """The windows of a text one after another, to evaluate on: each begins without context.

    tokens (N,)

    The last may be shorter than `seq_len`.
    """

    def __init__(self, tokens: Any, seq_len: int, *, task: Task = next_tokens) -> None:
        self.tokens, self.seq_len, self.task = tokens, seq_len, task

    def batches(self, size: int, limit: int) -> list[tuple[Any, Any]]:
        """Return the first `limit` windows, `size` at a time.

        -> tokens (B, T), targets (B, T), …
        """
        tokens, T = self.tokens, self.seq_len
        starts = range(0, len(tokens) - 1, T)[:limit]
        whole = [i for i in starts if i + T < len(tokens)]
        groups = [whole[i : i + size] for i in range(0, len(whole), size)]
        groups += [[i] for i in starts[len(whole) :]]
        cut = [np.stack([tokens[i : i + T + 1] for i in group]) for group in groups]
        return [
            self.task(rows.astype(np.int64), group[:1])
            for rows, group in zip(cut, groups, strict=True)
        ]


def next_in_order(
    order: Callable[[int], Any], position: Position, size: int
) -> tuple[list[int], Position]:
    """Return the next `size` entries and the position behind them; `order` gives each epoch's."""
    epoch, seen = position
    found: list[int] = []
    while len(found) < size:
        entries = order(epoch)
        taken = entries[seen : seen + size - len(found)]
        found.extend(taken.tolist())
        seen += len(taken)
        if seen == len(entries):
            epoch, seen = epoch + 1, 0
    return found, (epoch, seen)
