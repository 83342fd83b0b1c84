"""The objective of word2vec: tell a word's neighbours from words drawn at random."""

from tinyllm.backend import Array, Backend, Saved


def negative_sampling_forward(
    xp: Backend, x: Array, targets: Array, weight: Array, noise: Array, *, negatives: float
) -> tuple[Array, Saved]:
    """Pull x to its targets u, push it from noise n: loss = -Σⱼ wⱼ (log σ(x·uⱼ) + k E log σ(-x·n)).

    x (N, D), targets (N, C, D), weight (N, C), noise (S, D) -> loss (N)

    Mikolov et al. 2013, "Distributed representations of words and phrases" (arXiv:1310.4546),
    eq. 4, negated. E is the mean over one sample of noise for the whole batch, and k = `negatives`;
    the paper draws k words for every pair. The expected loss is the same, and the products become
    one of matrices (Ji et al. 2016, arXiv:1604.04661). A weight of 0 marks a target that is not
    there; weights are constants.
    """
    scores = xp.matmul(targets, xp.expand_dims(x, axis=-1))[..., 0]  # (N, C)
    noise_scores = xp.linear(x, noise)  # (N, S)
    missed, belongs = _softplus(xp, -scores)
    taken_in, pull = _softplus(xp, noise_scores)
    share = negatives / noise.shape[0] * xp.sum(weight, axis=-1, keepdims=True)  # (N, 1)
    loss = xp.sum(weight * missed, axis=-1) + xp.sum(share * taken_in, axis=-1)
    return loss, (x, targets, noise, weight * belongs, share * pull)


def negative_sampling_backward(
    xp: Backend, dy: Array, saved: Saved
) -> tuple[Array, Array, None, Array]:
    """dx = Σ ds u + Σ dr n,  du = ds x,  dn = Σ dr x,  ds = -w σ(-x·u) dy,  dr = k/S Σw σ(x·n) dy.

    Each score's gradient is the probability that the model gives to the wrong answer.
    """
    x, targets, noise, missed, taken_in = saved
    dscores = -missed * dy[:, None]  # (N, C)
    dnoise_scores = taken_in * dy[:, None]  # (N, S)
    dx = xp.matmul(xp.expand_dims(dscores, axis=-2), targets)[:, 0, :] + dnoise_scores @ noise
    dtargets = xp.expand_dims(dscores, axis=-1) * xp.expand_dims(x, axis=-2)
    return dx, dtargets, None, dnoise_scores.T @ x


def _softplus(xp: Backend, x: Array) -> tuple[Array, Array]:
    """Return log(1 + exp(x)) = -log σ(-x) and its derivative σ(x); exp only of negative numbers."""
    e = xp.exp(-xp.abs(x))
    one, positive = xp.ones_like(e), x > 0
    return xp.where(positive, x, xp.zeros_like(x)) + xp.log(one + e), xp.where(positive, one, e) / (
        one + e
    )
