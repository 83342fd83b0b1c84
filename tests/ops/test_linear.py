"""tinyllm.ops.linear and tinyllm.ops.embedding"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, sizes
from tinyllm.ops.embedding import embedding_backward, embedding_forward
from tinyllm.ops.linear import linear_backward, linear_forward


@given(sizes, sizes, sizes, st.booleans(), rngs)
def test_linear(xp, N, C, D, biased, rng):
    bias = rng.standard_normal(D) if biased else None
    x, weight = rng.standard_normal((2, N, C)), rng.standard_normal((D, C))
    check_pair(xp, linear_forward, linear_backward, x, weight, bias, rng=rng)


@given(sizes, sizes, sizes, sizes, rngs)
def test_embedding(xp, B, T, V, D, rng):
    tokens, weight = rng.integers(0, V, (B, T)), rng.standard_normal((V, D))
    check_pair(xp, embedding_forward, embedding_backward, tokens, weight, rng=rng)


@given(sizes, sizes, rngs)
def test_embedding_is_a_product_with_one_hot_rows(xp, B, T, rng):
    tokens, weight = rng.integers(0, 7, (B, T)), rng.standard_normal((7, 3))
    one_hot = np.eye(7)[tokens]
    y, saved = embedding_forward(xp, xp.asarray(tokens), xp.asarray(weight))
    np.testing.assert_allclose(xp.to_numpy(y), one_hot @ weight, rtol=1e-15)
    dy = rng.standard_normal((B, T, 3))
    _, dweight = embedding_backward(xp, xp.asarray(dy), saved)
    expected = one_hot.reshape(-1, 7).T @ dy.reshape(-1, 3)
    np.testing.assert_allclose(xp.to_numpy(dweight), expected, atol=1e-14)


def test_rows_of_absent_tokens_get_no_gradient(xp):
    tokens = xp.asarray(np.array([[1, 3, 1]]))
    y, saved = embedding_forward(xp, tokens, xp.asarray(np.ones((5, 2))))
    _, dweight = embedding_backward(xp, y, saved)
    assert np.array_equal(xp.to_numpy(dweight)[:, 0], [0, 2, 0, 1, 0])
