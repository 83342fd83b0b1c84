"""tinyllm.ops.sinusoidal"""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.ops.rope_scaling import default_frequencies
from tinyllm.ops.sinusoidal import sinusoidal_positions


def table(xp, positions, dim, dtype="float64"):
    frequencies = xp.asarray(default_frequencies(10000.0, dim))
    positions = xp.asarray(np.asarray(positions))
    return xp.to_numpy(sinusoidal_positions(xp, positions, frequencies, dtype=getattr(xp, dtype)))


def test_the_table_is_the_formula(xp):
    y = table(xp, [[0, 3], [7, 100]], 6)
    assert y.shape == (2, 2, 6)
    for b, row in enumerate([[0, 3], [7, 100]]):
        for t, p in enumerate(row):
            for i in range(3):
                angle = p / 10000 ** (2 * i / 6)
                np.testing.assert_allclose(y[b, t, 2 * i], math.sin(angle), atol=1e-14)
                np.testing.assert_allclose(y[b, t, 2 * i + 1], math.cos(angle), atol=1e-14)


@given(st.integers(0, 10**5), st.integers(0, 1000), st.integers(0, 1000))
def test_products_depend_on_the_distance_alone(xp, shift, p, q):
    near, far = table(xp, [p, q], 8), table(xp, [p + shift, q + shift], 8)
    np.testing.assert_allclose(near[0] @ near[1], far[0] @ far[1], atol=1e-9)
    np.testing.assert_allclose((near**2).sum(-1), 4)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_a_step_is_a_rotation_whatever_the_position(xp, p, k):
    """PE[p + k] is PE[p] turned pair by pair by k ω."""
    angles = k * default_frequencies(10000.0, 8)
    sin, cos = table(xp, [p], 8).reshape(4, 2).T
    turned = np.stack(
        [sin * np.cos(angles) + cos * np.sin(angles), cos * np.cos(angles) - sin * np.sin(angles)],
        axis=-1,
    )
    np.testing.assert_allclose(table(xp, [p + k], 8).reshape(4, 2), turned, atol=1e-11)


def test_float32_angles_are_exact_at_far_positions(xp):
    y = table(xp, [131071], 64, "float32")
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, table(xp, [131071], 64), atol=1e-7)
