"""tinyllm_numpy.losses: by blocks as by the formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tinyllm.ops import losses as formula
from tinyllm_numpy import losses as blocks


@pytest.fixture(params=[1, 20], autouse=True)
def small_blocks(request, monkeypatch):
    """A block is a row or a few."""
    monkeypatch.setattr(blocks, "BLOCK", request.param)


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=2),
    st.integers(1, 7),
    st.sampled_from([1.0, 1e4]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([{}, {"label_smoothing": 0.2}, {"z_loss": 0.3}]),
    rngs,
)
def test_loss_and_gradient_are_those_of_the_formula(lead, V, scale, ignored, options, rng):
    logits, targets = scale * rng.standard_normal((*lead, V)), rng.integers(0, V, lead)
    targets[rng.random(lead) < ignored] = formula.IGNORED
    before = logits.copy()
    loss, dlogits = tinyllm_numpy.summed_cross_entropy(logits, targets, **options)
    wanted, dwanted = formula.summed_cross_entropy(tinyllm_numpy, logits, targets, **options)
    assert loss == pytest.approx(wanted, rel=1e-13)
    np.testing.assert_allclose(dlogits, dwanted, rtol=1e-13, atol=1e-15)
    assert np.array_equal(logits, before)


def test_float32_stays_float32():
    logits = np.random.default_rng(0).standard_normal((2, 3, 5), np.float32)
    loss, dlogits = tinyllm_numpy.summed_cross_entropy(logits, np.ones((2, 3), np.int64))
    assert loss.dtype == dlogits.dtype == np.float32
    assert dlogits.shape == logits.shape
