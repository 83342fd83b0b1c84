"""Batches out of one long row of tokens: windows of equal length, in a shuffled order.

    tokens   5 3 8 1 9 2 7 …          window 0   inputs 5 3 8   targets 3 8 1
                                      window 1   inputs 1 9 2   targets 9 2 7

A place in the data is two whole numbers, the epoch and how many of its windows were seen: the order
of an epoch is drawn from (seed, epoch) alone, so a run that is resumed sees what it would have.
"""

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
        epoch, seen = position
        starts: list[int] = []
        while len(starts) < size:
            order = self._order(epoch)
            taken = order[seen : seen + size - len(starts)]
            starts.extend(taken.tolist())
            epoch, seen = (epoch, seen + len(taken))
            if seen == len(order):
                epoch, seen = epoch + 1, 0
        rows = np.stack([self.tokens[i : i + self.seq_len + 1] for i in starts]).astype(np.int64)
        return *self.task(rows, position), (epoch, seen)

    def _order(self, epoch: int) -> Any:
        """Return where the windows of an epoch start, in their order."""
        if self._epoch[0] != epoch:
            rng = np.random.default_rng([self.seed, ORDER, epoch])
            spare = len(self.tokens) - 1 - self.seq_len
            offset = int(rng.integers(min(self.seq_len, spare + 1)))
            count = (len(self.tokens) - 1 - offset) // self.seq_len
            self._epoch = epoch, offset + self.seq_len * rng.permutation(count)
        return self._epoch[1]
