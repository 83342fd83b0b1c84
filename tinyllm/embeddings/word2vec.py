"""word2vec: word vectors that tell a word's neighbours from words drawn at random.

    skip-gram   the vector of a word predicts each word around it
    CBOW        the mean of the vectors around a word predicts the word

Mikolov et al. 2013, "Efficient estimation of word representations in vector space"
(arXiv:1301.3781) and "Distributed representations of words and phrases" (arXiv:1310.4546).
A step follows the exact gradient of a whole batch of windows, and equal seeds give equal vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinyllm.backend import Array, Backend, Params
from tinyllm.embeddings.options import check_loss, check_positive, check_seed, check_whole
from tinyllm.embeddings.sparse import sum_rows, take_rows
from tinyllm.embeddings.vocabulary import Corpus, check_length
from tinyllm.embeddings.windows import (
    Windows,
    draw,
    keep_probabilities,
    noise_distribution,
    window_batches,
)
from tinyllm.errors import UsageError
from tinyllm.ops.negative_sampling import negative_sampling_backward, negative_sampling_forward

INPUT, OUTPUT = "input.weight", "output.weight"
LAST_LR = 1e-4  # of the first
SparseGrad = tuple[str, np.ndarray, Array]  # a table's name, ids (N,), gradients (N, D)


@dataclass(frozen=True, kw_only=True, slots=True)
class Word2VecOptions:
    """How to train. Raises UsageError for a value out of its range."""

    method: str = "skip-gram"  # or "cbow"
    dim: int = 100
    window: int = 5  # words to either side, at most
    negatives: int = 5  # words of noise for each pair
    subsample: float = 1e-3  # words above this share of the text are thinned out; 0: none
    epochs: int = 5
    lr: float = 0.025  # falls to almost nothing, in a straight line
    batch_size: int = 256  # windows in a step
    noise_size: int = 64  # words of noise drawn for half a step, which stand for all pairs' own
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in GRADIENTS:
            raise UsageError(f"method is {self.method!r}, expected one of {', '.join(GRADIENTS)}")
        check_whole(self, "dim", "window", "negatives", "epochs", "batch_size", "noise_size")
        check_positive(self, "lr")
        check_seed(self.seed)
        if not 0 <= self.subsample < 1:
            raise UsageError(f"subsample is {self.subsample}, expected 0 ≤ subsample < 1")


def init_word2vec(V: int, dim: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the tables to start from: input (V, D) uniform in ±½/D, output (V, D) zero."""
    small = (rng.random((V, dim), dtype=np.float32) - np.float32(0.5)) / np.float32(dim)
    return {INPUT: small, OUTPUT: np.zeros((V, dim), np.float32)}


def train_word2vec(
    xp: Backend,
    corpus: Corpus,
    options: Word2VecOptions,
    report: Callable[[int, float, float], None] = lambda *_: None,
) -> Params:
    """Train on a corpus; return the tables `input.weight` and `output.weight`, (V, D) each.

    After each pass `report` is told its number, the mean loss of a window, and the learning rate.
    Raises UsageError where no line has two words that are kept, or the loss stops being a number.
    """
    check_length(corpus, options.window)
    rng = np.random.Generator(np.random.PCG64(options.seed))
    tables = init_word2vec(len(corpus.words), options.dim, rng)
    params = {name: xp.asarray(table) for name, table in tables.items()}
    keep = keep_probabilities(corpus.counts, options.subsample)
    cumulative = np.cumsum(noise_distribution(corpus.counts))
    expected = float(np.sum(keep[corpus.tokens])) * options.epochs  # windows
    seen, lr = 0, options.lr
    for epoch in range(1, options.epochs + 1):
        loss, first = 0.0, seen
        for windows in window_batches(
            corpus, keep, rng, window=options.window, batch_size=options.batch_size
        ):
            noise = draw(rng, cumulative, (2, options.noise_size))
            loss += _step(xp, params, windows, noise, lr, options)
            check_loss(loss, epoch)
            seen += len(windows.centres)
            lr = options.lr * max(1 - seen / expected, LAST_LR)
        report(epoch, loss / max(seen - first, 1), lr)
    if not seen:
        raise UsageError("no line has two words that are kept: there is nothing to learn from")
    return params


@np.errstate(over="ignore", invalid="ignore")  # the loss shows it
def _step(
    xp: Backend,
    params: Params,
    windows: Windows,
    noise: np.ndarray,
    lr: float,
    options: Word2VecOptions,
) -> float:
    """Go one step down the gradient of two halves of a batch, for two workers; return the loss."""
    gradients = GRADIENTS[options.method]

    @np.errstate(over="ignore", invalid="ignore")  # of this worker
    def half(share: tuple[Windows, np.ndarray]) -> tuple[Array, list[SparseGrad]]:
        return gradients(xp, params, *share, negatives=options.negatives)

    shares = zip(windows.halves(), noise, strict=True)
    done = xp.parallel_map(half, [share for share in shares if len(share[0].centres)])
    for name in params:
        grads = [grad for _, found in done for grad in found if grad[0] == name]
        ids = np.concatenate([ids for _, ids, _ in grads])
        at, sums = sum_rows(xp, ids, xp.concat([rows for _, _, rows in grads]))
        params[name][at] = params[name][at] - lr * sums
    return sum(float(loss) for loss, _ in done)


def skip_gram_gradients(
    xp: Backend, params: Params, windows: Windows, noise: np.ndarray, *, negatives: int
) -> tuple[Array, list[SparseGrad]]:
    """Let each centre predict the words around it: the summed loss, and the gradients of rows."""
    x = take_rows(xp, params[INPUT], windows.centres)
    targets = take_rows(xp, params[OUTPUT], windows.contexts)  # (N, C, D)
    noise_rows = take_rows(xp, params[OUTPUT], noise)
    there = xp.asarray(windows.inside.astype(np.float32))
    loss, saved = negative_sampling_forward(xp, x, targets, there, noise_rows, negatives=negatives)
    dx, dtargets, _, dnoise = negative_sampling_backward(xp, xp.ones_like(loss), saved)
    ids = np.concatenate([windows.contexts[windows.inside], noise])
    rows = xp.concat([dtargets[xp.asarray(windows.inside)], dnoise])
    return xp.sum(loss), [(INPUT, windows.centres, dx), (OUTPUT, ids, rows)]


def cbow_gradients(
    xp: Backend, params: Params, windows: Windows, noise: np.ndarray, *, negatives: int
) -> tuple[Array, list[SparseGrad]]:
    """Let the mean of the words around predict the centre: the summed loss, gradients of rows.

    Each word around gets its share of the mean's gradient, 1/n. word2vec's own program gives each
    the whole of it (İrsoy et al. 2021, "Corrected CBOW performs as well as skip-gram").
    """
    share = windows.inside / np.sum(windows.inside, axis=1, keepdims=True)
    mean = xp.asarray(share.astype(np.float32)[:, None, :])  # (N, 1, C)
    x = xp.matmul(mean, take_rows(xp, params[INPUT], windows.contexts))[:, 0, :]
    targets = take_rows(xp, params[OUTPUT], windows.centres)[:, None, :]  # (N, 1, D)
    noise_rows = take_rows(xp, params[OUTPUT], noise)
    loss, saved = negative_sampling_forward(
        xp, x, targets, xp.ones_like(x[:, :1]), noise_rows, negatives=negatives
    )
    dx, dtargets, _, dnoise = negative_sampling_backward(xp, xp.ones_like(loss), saved)
    dcontexts = xp.matmul(xp.permute_dims(mean, (0, 2, 1)), dx[:, None, :])  # (N, C, D)
    inputs = windows.contexts[windows.inside], dcontexts[xp.asarray(windows.inside)]
    ids = np.concatenate([windows.centres, noise])
    return xp.sum(loss), [(INPUT, *inputs), (OUTPUT, ids, xp.concat([dtargets[:, 0, :], dnoise]))]


GRADIENTS = {"skip-gram": skip_gram_gradients, "cbow": cbow_gradients}
