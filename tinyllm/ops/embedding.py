"""Token embeddings: a table with one row for each token of the vocabulary."""

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.linear import rows


def embedding_forward(xp: Backend, tokens: Array, weight: Array) -> tuple[Array, Saved]:
    """Look up the row of each token: y = W[tokens].

    tokens (B, T), weight (V, D) -> y (B, T, D)

    Ids outside 0 … V-1 are the caller's to refuse: CuPy would wrap them around in silence.
    """
    ids = xp.reshape(tokens, (tokens.shape[0] * tokens.shape[1],))
    y = xp.reshape(xp.take(weight, ids, axis=0), (*tokens.shape, weight.shape[1]))
    return y, (ids, weight.shape[0])


def embedding_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[None, Array]:
    """dW[v] = Σ dy over the positions that hold token v; token ids have no gradient."""
    ids, V = saved
    return None, xp.index_add(V, ids, rows(xp, dy))


def tied_embedding_backward(
    xp: Backend, dy: Array, saved: Saved, dhead: Array
) -> tuple[None, Array]:
    """dW[v] = dhead[v] + Σ dy over the positions that hold v: of a table that is a head, too.

    dhead (V, D), which is used up: a large table's gradient is not made a second time
    """
    ids, _ = saved
    dhead = dhead if dhead.dtype == dy.dtype else xp.astype(dhead, dy.dtype)
    return None, xp.add_rows(dhead, ids, rows(xp, dy))
