"""The training objective of language models."""

import math

from tinyllm.backend import Array, Backend, Saved
from tinyllm.errors import UsageError
from tinyllm.ops.linear import rows
from tinyllm.ops.softmax import log_softmax_forward

IGNORED = -100  # a target with this id is not counted; the convention of Hugging Face and PyTorch


def cross_entropy_forward(
    xp: Backend,
    logits: Array,
    targets: Array,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> tuple[Array, Saved]:
    """Average the nats by which the model is surprised: loss = mean(-Σᵥ qᵥ log pᵥ + c log² Z).

    logits (..., V), targets (...) -> loss ()

    p = exp(z) / Z for logits z, with Z = Σ exp(z). q is 1 - a on the target plus a/V on every
    token, a = `label_smoothing` (Szegedy et al. 2015, arXiv:1512.00567, section 7). c = `z_loss`
    holds Z near 1, which p leaves open, so that logits stay small, where floats are dense
    (Chowdhery et al. 2022, PaLM, arXiv:2204.02311, section 5, with c = 1e-4). The mean is over the
    targets that count: those that are not -100. Raises UsageError where none counts, a is not in
    [0, 1), or c is negative or not finite.
    """
    check_loss_options(label_smoothing=label_smoothing, z_loss=z_loss)
    n = int(xp.sum(xp.astype(targets != IGNORED, xp.int64)))
    if n == 0:
        raise UsageError("no target counts: every one is -100")
    loss, dlogits = xp.summed_cross_entropy(
        logits, targets, label_smoothing=label_smoothing, z_loss=z_loss
    )
    return loss / n, (dlogits, n)


def cross_entropy_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, None]:
    """dlogits = dy (p - q + 2c p log Z) / n on the n targets that count, 0 on the others."""
    dlogits, n = saved
    return dlogits * (dy / n), None


def check_loss_options(*, label_smoothing: float, z_loss: float) -> None:
    """Raise UsageError for a number out of its range."""
    if not 0.0 <= label_smoothing < 1.0:
        raise UsageError(f"label_smoothing is {label_smoothing}, expected 0 ≤ a < 1")
    if not 0.0 <= z_loss < math.inf:
        raise UsageError(f"z_loss is {z_loss}, expected 0 or more")


def summed_cross_entropy(
    xp: Backend,
    logits: Array,
    targets: Array,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> tuple[Array, Array]:
    """Add up what `cross_entropy_forward` averages, and differentiate: dz = p - q + 2c p log Z.

    logits (..., V), targets (...) -> loss (), dlogits (..., V)

    Only targets that are not -100 count, and nothing is divided by their number: sums of parts of a
    batch add up. A loss ends a model, so its gradient can be had where the loss is.
    """
    z = rows(xp, logits)  # (N, V)
    log_probs, (probs,) = log_softmax_forward(xp, z)
    N, V = z.shape
    targets = xp.reshape(targets, (N,))
    counted = targets != IGNORED
    hit = xp.arange(V)[None, :] == targets[:, None]  # (N, V)
    none, zeros = xp.zeros_like(probs), xp.zeros_like(probs[:, 0])
    loss = (label_smoothing - 1.0) * xp.sum(xp.where(hit, log_probs, none))
    if label_smoothing:
        loss = loss - label_smoothing * xp.sum(
            xp.where(counted, xp.mean(log_probs, axis=-1), zeros)
        )
    dlogits = probs - (1.0 - label_smoothing) * xp.astype(hit, probs.dtype) - label_smoothing / V
    if z_loss:
        log_total = xp.max(z, axis=-1) - xp.max(log_probs, axis=-1)  # log Z
        log_total = xp.where(counted, log_total, zeros)
        loss = loss + z_loss * xp.sum(log_total * log_total)
        dlogits = dlogits + (2.0 * z_loss * log_total)[:, None] * probs
    return loss, xp.reshape(xp.where(counted[:, None], dlogits, none), logits.shape)
