"""tinyllm.ops.activations"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, float32_pair, rngs, sizes
from tinyllm.ops import activations

NAMES = ["relu", "gelu", "gelu_tanh", "silu"]


def pair(name):
    return getattr(activations, f"{name}_forward"), getattr(activations, f"{name}_backward")


@pytest.mark.parametrize("name", NAMES)
@given(sizes, sizes, rngs)
def test_activation(xp, name, N, D, rng):
    x = rng.standard_normal((N, D))
    x = np.where(np.abs(x) < 1e-3, 0.1, x)  # central differences are wrong across ReLU's kink
    check_pair(xp, *pair(name), x, rng=rng)


@pytest.mark.parametrize("name", NAMES)
@given(value=st.floats(-(2.0**100), 2.0**100, width=32))
def test_no_value_overflows(xp, name, value):
    if name.startswith("gelu") and abs(value) > 1e12:
        value = math.copysign(1e12, value)  # x² and x³ leave float32 beyond
    float32_pair(xp, *pair(name), np.array([value]))


@pytest.mark.parametrize("name", NAMES)
def test_limits(xp, name):
    y, _ = pair(name)[0](xp, xp.asarray(np.array([-40.0, 0.0, 40.0])))
    np.testing.assert_allclose(xp.to_numpy(y), [0.0, 0.0, 40.0], atol=1e-15)


def test_the_gradient_of_relu_is_zero_at_the_kink(xp):
    y, saved = activations.relu_forward(xp, xp.asarray(np.array([0.0, 1e-300])))
    dx = activations.relu_backward(xp, xp.ones_like(y), saved)
    assert xp.to_numpy(dx).tolist() == [0.0, 1.0]


def test_gelu_is_x_times_the_normal_distribution(xp):
    x = np.linspace(-6, 6, 101)
    y, _ = activations.gelu_forward(xp, xp.asarray(x))
    exact = [v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in x]
    np.testing.assert_allclose(xp.to_numpy(y), exact, atol=1e-15)


def test_the_tanh_form_of_gelu_is_near_but_not_equal(xp):
    x = xp.asarray(np.linspace(-4, 4, 101))
    difference = activations.gelu_forward(xp, x)[0] - activations.gelu_tanh_forward(xp, x)[0]
    assert 1e-4 < np.abs(xp.to_numpy(difference)).max() < 1e-3


def test_sigmoid_keeps_its_relative_accuracy_far_out(xp):
    x = np.float32([-80, -18, -1, 0, 1, 18])
    y = xp.to_numpy(activations.sigmoid(xp, xp.asarray(x)))
    exact = [1 / (1 + math.exp(-float(v))) for v in x]
    np.testing.assert_allclose(y, exact, rtol=3e-7)
