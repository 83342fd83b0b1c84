"""GloVe: word vectors whose inner products are the logarithms of co-occurrence counts.

Pennington et al. 2014, "GloVe: Global vectors for word representation". Every word has two vectors
and two biases, as a word and as a context; what is used in the end is the sum of both vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinyllm.backend import Array, Backend, Params
from tinyllm.embeddings.cooccurrence import Cooccurrences
from tinyllm.embeddings.options import check_loss, check_positive, check_seed, check_whole
from tinyllm.embeddings.sparse import sum_rows, take_rows
from tinyllm.errors import UsageError
from tinyllm.ops.glove import glove_backward, glove_forward

WORD, CONTEXT, WORD_BIAS, CONTEXT_BIAS = (
    "word.weight",
    "context.weight",
    "word.bias",
    "context.bias",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GloveOptions:
    """How to train. Raises UsageError for a value out of its range."""

    dim: int = 100
    epochs: int = 25
    lr: float = 0.05
    x_max: float = 100.0  # counts above it weigh no more
    alpha: float = 0.75
    batch_size: int = 4096  # entries in a step
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(self, "dim", "epochs", "batch_size")
        check_positive(self, "lr", "x_max", "alpha")
        check_seed(self.seed)


def init_glove(V: int, dim: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the tables to start from, uniform in ±½/D: vectors (V, D) and biases (V, 1)."""
    widths = {WORD: dim, CONTEXT: dim, WORD_BIAS: 1, CONTEXT_BIAS: 1}
    half, scale = np.float32(0.5), np.float32(dim)
    return {name: (rng.random((V, D), np.float32) - half) / scale for name, D in widths.items()}


def train_glove(
    xp: Backend,
    counts: Cooccurrences,
    V: int,
    options: GloveOptions,
    report: Callable[[int, float, float], None] = lambda *_: None,
) -> Params:
    """Fit counts of V words by AdaGrad; return vectors (V, D) and biases (V, 1) of both kinds.

    Half the loss is minimised, as by the authors' own program, whose squares start at 1, too. After
    each pass `report` is told its number, the mean loss of an entry, and the learning rate.
    Raises UsageError where there are no entries, or the loss stops being a number.
    """
    if not len(counts.counts):
        raise UsageError("no line has two words: there is nothing to learn from")
    rng = np.random.Generator(np.random.PCG64(options.seed))
    params = {k: xp.asarray(table) for k, table in init_glove(V, options.dim, rng).items()}
    squares = {name: xp.ones_like(table) for name, table in params.items()}
    for epoch in range(1, options.epochs + 1):
        order, loss = rng.permutation(len(counts.counts)), 0.0
        for first in range(0, len(order), options.batch_size):
            at = order[first : first + options.batch_size]
            loss += _step(xp, params, squares, counts, at, options)
            check_loss(loss, epoch)
        report(epoch, loss / len(order), options.lr)
    return params


@np.errstate(over="ignore", invalid="ignore")  # the loss shows it
def _step(
    xp: Backend,
    params: Params,
    squares: Params,
    counts: Cooccurrences,
    at: np.ndarray,
    options: GloveOptions,
) -> float:
    """Take one step of AdaGrad with some entries; return their loss."""
    ids = {WORD: counts.rows[at], CONTEXT: counts.columns[at]}
    ids |= {WORD_BIAS: ids[WORD], CONTEXT_BIAS: ids[CONTEXT]}
    x, y, b, c = (take_rows(xp, params[name], ids[name]) for name in params)
    found = xp.asarray(counts.counts[at].astype(np.float32))
    loss, saved = glove_forward(
        xp, x, y, b[:, 0], c[:, 0], found, x_max=options.x_max, alpha=options.alpha
    )
    dx, dy, db, dc, _ = glove_backward(xp, 0.5 * xp.ones_like(loss), saved)
    for name, rows in zip(params, (dx, dy, db[:, None], dc[:, None]), strict=True):
        adagrad_rows(xp, params[name], squares[name], *sum_rows(xp, ids[name], rows), options.lr)
    return float(xp.sum(loss))


def adagrad_rows(
    xp: Backend, table: Array, squares: Array, at: Array, grad: Array, lr: float
) -> None:
    """Take a step of AdaGrad in some rows, in place: s += g²,  θ -= η g / √s.

    Duchi et al. 2011, "Adaptive subgradient methods", with diagonal matrices. `at` has no repeats.
    """
    squared = squares[at] + grad * grad
    squares[at] = squared
    table[at] = table[at] - lr * grad / xp.sqrt(squared)


def glove_vectors(params: Params) -> Array:
    """Return the vectors to use, the sums of a word's two: (V, D)."""
    return params[WORD] + params[CONTEXT]
