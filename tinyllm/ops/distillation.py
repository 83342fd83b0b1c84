"""How far a student is from its teacher, token by token: losses whose second argument is constant.

Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network" (arXiv:1503.02531).
"""

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.softmax import log_softmax_forward


def kl_forward(
    xp: Backend, logits: Array, teacher: Array, *, temperature: float = 1.0
) -> tuple[Array, Saved]:
    """Measure what a student misses of its teacher: loss = Σᵥ p (log p - log q).

    logits (..., V), teacher (..., V) -> loss (...)

    p = softmax(teacher / τ) and q = softmax(logits / τ), τ = `temperature`. In nats; not multiplied
    by τ², as in Muralidharan et al. 2024 (arXiv:2407.14679), eq. 3, and unlike Hinton's.
    """
    log_p, (p,) = log_softmax_forward(xp, teacher / temperature)
    log_q, (q,) = log_softmax_forward(xp, logits / temperature)
    return xp.sum(p * (log_p - log_q), axis=-1), (p, q, temperature)


def kl_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, None]:
    """dlogits = dy (q - p) / τ."""
    p, q, temperature = saved
    return dy[..., None] * (q - p) / temperature, None


def reverse_kl_forward(
    xp: Backend, logits: Array, teacher: Array, *, temperature: float = 1.0
) -> tuple[Array, Saved]:
    """Measure what a student says that its teacher would not: loss = Σᵥ q (log q - log p).

    logits (..., V), teacher (..., V) -> loss (...)

    It is small where the student keeps to some of what its teacher may say; the other divergence
    wants all of it (Gu et al. 2024, "MiniLLM" (arXiv:2306.08543), section 2.1).
    """
    log_p, _ = log_softmax_forward(xp, teacher / temperature)
    log_q, (q,) = log_softmax_forward(xp, logits / temperature)
    ratio = log_q - log_p
    loss = xp.sum(q * ratio, axis=-1)
    return loss, (q, ratio, loss, temperature)


def reverse_kl_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, None]:
    """dlogits = dy q ⊙ (log q - log p - loss) / τ."""
    q, ratio, loss, temperature = saved
    return dy[..., None] * q * (ratio - loss[..., None]) / temperature, None


def mean_square_forward(xp: Backend, x: Array, target: Array) -> tuple[Array, Saved]:
    """Average the squared differences of two vectors: loss = Σ_d (x - target)² / D.

    x (..., D), target (..., D) -> loss (...)
    """
    difference = x - target
    return xp.mean(difference * difference, axis=-1), difference


def mean_square_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, None]:
    """dx = 2 dy (x - target) / D."""
    return (2.0 / saved.shape[-1]) * dy[..., None] * saved, None
