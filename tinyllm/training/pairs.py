"""Batches of pairs of texts, for models that read one and write the other.

    source   the cat </s>         given to the decoder   ^ le chat         ^ begins every target
             sit </s> ·                                  ^ assis ·         · is padding
                                  targets                le chat </s>
                                                         assis </s> -100

The decoder is given the right beginning, whatever it would have written: teacher forcing (Williams
and Zipser 1989, "A learning algorithm for continually running fully recurrent neural networks").
"""

from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.errors import UsageError
from tinyllm.models.seq2seq import Pair, shifted_right
from tinyllm.models.seq2seq_config import Seq2SeqConfig
from tinyllm.ops.losses import IGNORED
from tinyllm.shown import plain
from tinyllm.tokenizers import Tokenizer
from tinyllm.tokenizers.frames import source_ids, target_ids
from tinyllm.training.documents import lines, read_text
from tinyllm.training.windows import ORDER, Position, next_in_order

Ids = tuple[Sequence[int], Sequence[int]]  # of a source and its target, each with its end


class Pairs:
    """Shuffled pairs, as wide as the longest of a batch. Raises UsageError where there are none."""

    def __init__(self, pairs: Sequence[Ids], config: Seq2SeqConfig, *, seed: int = 0) -> None:
        if not pairs:
            raise UsageError("there is no pair of texts to learn from")
        if config.pad_id is None:
            raise UsageError("the model has no token for padding, which fills up its shorter texts")
        self.pairs, self.config, self.seed = pairs, config, seed
        self._epoch: tuple[int, Any] = (-1, None)

    def batch(self, position: Position, size: int) -> tuple[Pair, Any, Position]:
        """Return the next `size` pairs and the position behind them, maybe in a later epoch.

        -> pair (B, S) and (B, T), targets (B, T)
        """
        chosen, behind = next_in_order(self._order, position, size)
        return *self._side_by_side([self.pairs[i] for i in chosen]), behind

    def batches(self, size: int, limit: int) -> list[tuple[Pair, Any]]:
        """Return the first `limit` pairs in their order, `size` at a time."""
        first = self.pairs[:limit]
        return [self._side_by_side(first[i : i + size]) for i in range(0, len(first), size)]

    def _order(self, epoch: int) -> Any:
        """Return the pairs of an epoch, by their numbers."""
        if self._epoch[0] != epoch:
            rng = np.random.default_rng([self.seed, ORDER, epoch])
            self._epoch = epoch, rng.permutation(len(self.pairs))
        return self._epoch[1]

    def _side_by_side(self, pairs: Sequence[Ids]) -> tuple[Pair, Any]:
        sources, targets = zip(*pairs, strict=True)
        wanted = filled_up(targets, IGNORED)
        given = shifted_right(wanted, self.config)
        return Pair(filled_up(sources, self.config.pad_id), given), wanted


def filled_up(texts: Sequence[Sequence[int]], filler: int | None) -> Any:
    """Put texts into rows of one length: -> ids (B, T), `filler` behind those that are shorter."""
    columns = list(zip_longest(*texts, fillvalue=filler))
    return np.ascontiguousarray(np.array(columns, np.int64).T)


def read_pairs(
    source: Path,
    target: Path,
    tokenizer: Tokenizer,
    *,
    longest: int,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[list[Ids], int]:
    """Read two files whose lines are sources and their targets: return ids, and how many were left.

    Left out are pairs of which one is blank, or longer than `longest` tokens. Raises UsageError for
    files with unequal numbers of lines, that cannot be read, or without a pair that is left; and
    where the tokenizer has no token that ends a text.
    """
    if tokenizer.eos_id is None:
        raise UsageError("the tokenizer has no token that ends a text, which a target ends with")
    sources, targets = (lines("".join(read_text(path))) for path in (source, target))
    if len(sources) != len(targets):
        raise UsageError(
            f"{plain(source)} has {len(sources)} lines and {plain(target)} {len(targets)}: line by "
            f"line the one is to be made of the other"
        )
    found: list[Ids] = []
    for number, (one, other) in enumerate(zip(sources, targets, strict=True), 1):
        if one.strip() and other.strip():
            ids = source_ids(tokenizer, one), target_ids(tokenizer, other)
            if max(map(len, ids)) <= longest:
                found.append(ids)
        if number % 1000 == 0:
            report(f"{number:,} pairs")
    if not found:
        raise UsageError(
            f"{plain(source)}: no line has a target and at most {longest} tokens: see --seq-len"
        )
    return found, len(sources) - len(found)


def pair_numbers(pairs: Sequence[Ids]) -> Any:
    """Return all ids in a row, by which a run knows that its data are the same: -> (N,)."""
    parts = (part for pair in pairs for ids in pair for part in ((len(ids),), ids))
    return np.fromiter(chain.from_iterable(parts), np.int64)
