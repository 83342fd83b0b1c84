"""tinyllm.embeddings.sparse"""

import numpy as np
from hypothesis import given

from strategies import rngs, sizes
from tinyllm.embeddings.sparse import sum_rows, take_rows


@given(sizes, sizes, sizes, rngs)
def test_repeated_words_get_the_sum(xp, V, N, D, rng):
    ids, rows = rng.integers(0, V, N), rng.standard_normal((N, D))
    at, sums = (xp.to_numpy(a) for a in sum_rows(xp, ids, xp.asarray(rows)))
    assert len(set(at.tolist())) == len(at)
    dense = np.zeros((V, D))
    dense[at] = sums
    np.testing.assert_allclose(dense, np.eye(V)[ids].T @ rows, atol=1e-14)


@given(sizes, sizes, sizes, rngs)
def test_rows_are_those_of_the_table(xp, V, N, D, rng):
    ids, table = rng.integers(0, V, (N, 2)), rng.standard_normal((V, D))
    rows = xp.to_numpy(take_rows(xp, xp.asarray(table), ids))
    assert np.array_equal(rows, table[ids])
