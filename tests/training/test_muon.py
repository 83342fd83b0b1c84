"""tinyllm.training.muon"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tinyllm.training.muon import is_hidden, muon_step, orthogonalized
from tinyllm.training.optimizers import OPTIMIZERS, adamw_update


@settings(max_examples=20)
@given(rng=rngs, rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_the_iteration_keeps_directions_and_brings_their_lengths_near_one(xp, rng, rows, columns):
    u, s, vt = np.linalg.svd(rng.standard_normal((rows, columns)), full_matrices=False)
    s = np.maximum(s, 0.05 * s.max())
    found = np.asarray(xp.to_numpy(orthogonalized(xp, xp.asarray((u * s) @ vt))))
    lengths = u.T @ found @ vt.T
    np.testing.assert_allclose(lengths, np.diag(np.diag(lengths)), atol=1e-9)
    assert np.diag(lengths).min() > 0.6
    assert np.diag(lengths).max() < 1.25


def test_zeros_stay_zeros():
    assert not orthogonalized(tinyllm_numpy, np.zeros((3, 4))).any()


def test_two_steps_are_what_the_formula_says():
    rng = np.random.default_rng(0)
    p, g1, g2 = (rng.standard_normal((3, 5)) for _ in range(3))
    m, options = np.zeros((3, 5)), {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}
    one = muon_step(tinyllm_numpy, p, g1, m, **options)
    two = muon_step(tinyllm_numpy, one, g2, m, **options)
    step = 0.1 * 0.2 * np.sqrt(5)
    wanted = 0.98 * p - step * orthogonalized(tinyllm_numpy, 1.9 * g1)
    np.testing.assert_allclose(one, wanted, atol=1e-14)
    wanted = 0.98 * one - step * orthogonalized(tinyllm_numpy, g2 + 0.9 * (0.9 * g1 + g2))
    np.testing.assert_allclose(two, wanted, atol=1e-14)
    np.testing.assert_allclose(m, 0.9 * g1 + g2, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "shape", "hidden"),
    [
        ("model.layers.0.mlp.up_proj.weight", (4, 2), True),
        ("model.layers.0.self_attn.q_proj.bias", (4,), False),
        ("model.embed_tokens.weight", (4, 2), False),
        ("lm_head.weight", (4, 2), False),
        ("model.norm.weight", (4,), False),
        ("model.final_logits_bias", (1, 4), False),
    ],
)
def test_tables_and_vectors_are_not_for_muon(name, shape, hidden):
    assert is_hidden(name, np.zeros(shape)) is hidden


def test_all_but_the_matrices_within_layers_take_the_steps_of_adamw():
    rng = np.random.default_rng(0)
    shapes = {"layers.0.up.weight": (3, 2), "embed.weight": (4, 2), "norm.weight": (2,)}
    params, grads = ({n: rng.standard_normal(s) for n, s in shapes.items()} for _ in range(2))
    muon = OPTIMIZERS["muon"]
    state, alone = muon.init(tinyllm_numpy, params), muon.init(tinyllm_numpy, params)
    for _ in range(2):
        new = muon.update(tinyllm_numpy, params, grads, state, lr=0.1)
        old = adamw_update(tinyllm_numpy, params, grads, alone, lr=0.1)
    assert list(new) == list(params)
    assert state["step"] == 2
    for name in ("embed.weight", "norm.weight"):
        np.testing.assert_array_equal(new[name], old[name])
    assert not np.allclose(new["layers.0.up.weight"], old["layers.0.up.weight"])


def test_small_steps_lower_a_loss():
    rng, target = np.random.default_rng(0), np.random.default_rng(1).standard_normal((4, 6))
    params = {"w": rng.standard_normal((4, 6))}
    state = OPTIMIZERS["muon"].init(tinyllm_numpy, params)
    start = np.sum((params["w"] - target) ** 2)
    for _ in range(200):
        grads = {"w": params["w"] - target}
        params = OPTIMIZERS["muon"].update(
            tinyllm_numpy, params, grads, state, lr=0.05, weight_decay=0.0
        )
    assert np.sum((params["w"] - target) ** 2) < 0.05 * start
