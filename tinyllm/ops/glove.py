"""The objective of GloVe: inner products of word vectors that are the logarithms of counts."""

from tinyllm.backend import Array, Backend, Saved


def glove_forward(
    xp: Backend,
    x: Array,
    y: Array,
    x_bias: Array,
    y_bias: Array,
    counts: Array,
    *,
    x_max: float = 100.0,
    alpha: float = 0.75,
) -> tuple[Array, Saved]:
    """Fit counts X: loss = f(X) (x·y + b + c - log X)²,  f(X) = min(1, X/x_max)^α.

    x (N, D), y (N, D), x_bias (N), y_bias (N), counts (N) -> loss (N)

    Pennington et al. 2014, "GloVe: Global vectors for word representation", eq. 8 and 9. f keeps
    rare pairs, which are mostly chance, from counting as much as frequent ones. Counts are
    constants above 0.
    """
    ratio = counts / x_max
    f = xp.where(ratio < 1, ratio, xp.ones_like(ratio)) ** alpha
    residual = xp.sum(x * y, axis=-1) + x_bias + y_bias - xp.log(counts)
    return f * residual * residual, (x, y, 2 * f * residual)


def glove_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, Array, Array, Array, None]:
    """dx = g y,  dy = g x,  db = dc = g,  g = 2 f(X) (x·y + b + c - log X) dloss."""
    x, y, slope = saved
    g = slope * dy
    column = xp.expand_dims(g, axis=-1)
    return column * y, column * x, g, g, None
