"""tinyllm.ops.rope"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, sizes
from tinyllm.ops import rope
from tinyllm.ops.rope_scaling import default_frequencies

LAYOUTS = {
    "half": (rope.rope_half_forward, rope.rope_half_backward),
    "interleaved": (rope.rope_interleaved_forward, rope.rope_interleaved_backward),
}


def tables(xp, positions, r, theta=100.0):
    frequencies = xp.asarray(default_frequencies(theta, 2 * r))
    return rope.rope_tables(xp, xp.asarray(np.asarray(positions)), frequencies, dtype=xp.float64)


def rotate(xp, layout, x, positions):
    cos, sin = tables(xp, positions, x.shape[-1] // 2)
    return xp.to_numpy(LAYOUTS[layout][0](xp, xp.asarray(x), cos, sin)[0])


@pytest.mark.parametrize("layout", LAYOUTS)
@given(sizes, sizes, sizes, st.integers(0, 2), st.booleans(), rngs)
def test_rope(xp, layout, B, T, r, rest, batched, rng):
    shape = (B, 1, T, r) if batched else (T, r)
    cos, sin = (xp.asarray(rng.standard_normal(shape)) for _ in range(2))
    forward, backward = LAYOUTS[layout]

    def turn(xp, x):
        return forward(xp, x, cos, sin)

    def turn_back(xp, dy, saved):
        dx, dcos, dsin = backward(xp, dy, saved)
        assert dcos is None
        assert dsin is None
        return dx

    turn.__doc__ = "x (..., T, d) -> y (..., T, d)"
    check_pair(xp, turn, turn_back, rng.standard_normal((B, 3, T, 2 * r + rest)), rng=rng)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(st.integers(0, 10**6), st.integers(0, 100), st.integers(0, 100), rngs)
def test_scores_depend_on_the_distance_alone(xp, layout, shift, m, n, rng):
    q, k = rng.standard_normal((2, 1, 6))
    near = rotate(xp, layout, q, [m]) @ rotate(xp, layout, k, [n]).T
    far = rotate(xp, layout, q, [m + shift]) @ rotate(xp, layout, k, [n + shift]).T
    np.testing.assert_allclose(far, near, atol=1e-8)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(st.integers(0, 1000), st.integers(0, 1000), rngs)
def test_rotations_compose_keep_lengths_and_start_at_the_identity(xp, layout, a, b, rng):
    x = rng.standard_normal((1, 8))
    twice = rotate(xp, layout, rotate(xp, layout, x, [a]), [b])
    np.testing.assert_allclose(twice, rotate(xp, layout, x, [a + b]), atol=1e-11)
    np.testing.assert_allclose((twice**2).sum(), (x**2).sum())
    assert np.array_equal(rotate(xp, layout, x, [0]), x)


@given(st.integers(1, 5), st.integers(1, 4), rngs)
def test_the_two_layouts_are_one_function_of_permuted_weights(xp, H, r, rng):
    """interleaved(W x) = unpermute(half(permute(W) x)), for any number of heads."""
    d, C = 2 * r, 3
    weight, x = rng.standard_normal((H * d, C)), rng.standard_normal((4, C))
    permuted = xp.to_numpy(rope.interleaved_to_half(xp, xp.asarray(weight), H))

    def heads(w):
        return (x @ w.T).reshape(4, H, d).transpose(1, 0, 2)

    interleaved = rotate(xp, "interleaved", heads(weight), np.arange(4))
    half = rotate(xp, "half", heads(permuted), np.arange(4))
    order = xp.to_numpy(rope.interleaved_to_half(xp, xp.asarray(np.arange(d)), 1))
    np.testing.assert_allclose(half, interleaved[..., order], atol=1e-13)


@given(st.integers(1, 5), st.integers(1, 4), st.booleans(), rngs)
def test_the_permutation_has_an_inverse(xp, H, r, is_bias, rng):
    weight = rng.standard_normal((H * 2 * r,) if is_bias else (H * 2 * r, 3))
    there = rope.interleaved_to_half(xp, xp.asarray(weight), H)
    assert np.array_equal(xp.to_numpy(rope.half_to_interleaved(xp, there, H)), weight)
    back = rope.half_to_interleaved(xp, xp.asarray(weight), H)
    assert np.array_equal(xp.to_numpy(rope.interleaved_to_half(xp, back, H)), weight)


def test_angles_are_exact_at_far_positions(xp):
    frequencies = xp.asarray(default_frequencies(500000.0, 128))
    cos, _ = rope.rope_tables(xp, xp.asarray(np.array([131071])), frequencies, dtype=xp.float32)
    assert cos.dtype == xp.float32
    # cos(131071 · 500000^(-i/64)), computed with 50 digits
    np.testing.assert_allclose(
        xp.to_numpy(cos)[0, [0, 1, 63]], [-0.81798350, -0.81731615, 0.94866837], atol=1e-7
    )
