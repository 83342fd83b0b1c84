"""tinyllm.compression.taylor: what the loss feels of a group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tiny import random_params, tiny_config
from tinyllm.compression.groups import Groups, find_groups
from tinyllm.compression.taylor import (
    AGGREGATES,
    IMPORTANCES,
    Slopes,
    group_importance,
    loss_slopes,
)
from tinyllm.errors import CheckpointError, UsageError
from tinyllm.models.decoder import decoder_forward
from tinyllm.ops.losses import summed_cross_entropy
from tinyllm.params import nest
from tinyllm.training.gradients import gradients_at_once

CONFIG = tiny_config()
TOKENS = np.random.default_rng(1).integers(0, CONFIG.vocab_size, (5, 7))
PARAMS = random_params(CONFIG)


def loss(params):
    """The mean nats of a token."""
    xp = tinyllm_numpy
    logits, _ = decoder_forward(xp, TOKENS[:, :-1], nest(params), CONFIG)
    return float(summed_cross_entropy(xp, logits, TOKENS[:, 1:])[0]) / TOKENS[:, 1:].size


@pytest.mark.parametrize("samples", [1, 5])
def test_slopes_are_of_the_mean_loss_and_of_each_samples_own(xp, samples):
    params = {name: xp.asarray(x) for name, x in PARAMS.items()}
    tokens = TOKENS[:samples]
    found = loss_slopes(xp, params, CONFIG, tokens, fisher=True)
    plain = loss_slopes(xp, params, CONFIG, tokens, fisher=False)
    assert plain.fisher == {}
    of_samples = [
        gradients_at_once(xp, CONFIG, nest(params), text[:, :-1], text[:, 1:]).grads
        for text in np.split(tokens, samples)
    ]
    for name in PARAMS:
        g = np.array([xp.to_numpy(grads[name]) for grads in of_samples]) / 6
        np.testing.assert_allclose(xp.to_numpy(found.gradient[name]), g.mean(axis=0), atol=1e-14)
        np.testing.assert_allclose(xp.to_numpy(plain.gradient[name]), g.mean(axis=0), atol=1e-14)
        np.testing.assert_allclose(xp.to_numpy(found.fisher[name]), (g**2).mean(axis=0), atol=1e-14)


def test_the_vector_importance_is_what_the_loss_loses_to_first_order():
    """A row is shrunk a little: by brute force, through the whole model."""
    slopes = loss_slopes(tinyllm_numpy, PARAMS, CONFIG, TOKENS, fisher=False)
    weigh, h = IMPORTANCES["vector"].weigh, 1e-5
    for name, axis in [("model.layers.1.mlp.down_proj.weight", 1),
                       ("model.layers.0.self_attn.k_proj.weight", 0)]:  # fmt: skip
        found = weigh(PARAMS[name], slopes.gradient[name], None, axis)
        for i in range(PARAMS[name].shape[axis]):
            row = np.zeros_like(PARAMS[name])
            row[(slice(None),) * axis + (i,)] = np.take(PARAMS[name], i, axis)
            change = [loss(PARAMS | {name: PARAMS[name] + s * row}) for s in (h, -h)]
            assert found[i] == pytest.approx(abs(change[0] - change[1]) / (2 * h), rel=1e-6)


@given(rngs, st.integers(1, 5), st.integers(1, 5))
def test_of_a_quadratic_loss_the_second_order_is_exact(rng, rows, columns):
    """L(w) = Σ (½ F w² + b w), so that L(w) - L(0 in one place) is what `mix` says of it."""
    w, fisher, b = rng.standard_normal((3, rows, columns))
    fisher = np.abs(fisher)
    gradient = fisher * w + b
    exact = np.abs(0.5 * fisher * w**2 + b * w)
    for axis in (0, 1):
        found = IMPORTANCES["mix"].weigh(w, gradient, fisher, axis)
        np.testing.assert_allclose(found, exact.sum(axis=1 - axis), rtol=1e-12)


def test_each_importance_is_its_formula():
    rng = np.random.default_rng(0)
    w, g, fisher = rng.standard_normal((3, 4, 3))
    expected = {
        "vector": [abs(sum(w[i] * g[i])) for i in range(4)],
        "element1": [sum(abs(w[i] * g[i])) for i in range(4)],
        "element2": [sum(abs(w[i] ** 2 * fisher[i])) for i in range(4)],
        "mix": [sum(abs(w[i] * g[i] - w[i] ** 2 * fisher[i] / 2)) for i in range(4)],
        "l1": [sum(abs(w[i])) for i in range(4)],
        "l2": [sum(w[i] ** 2) for i in range(4)],
    }
    assert expected.keys() == IMPORTANCES.keys()
    for name, numbers in expected.items():
        weigh = IMPORTANCES[name].weigh
        np.testing.assert_allclose(weigh(w, g, fisher, 0), numbers, rtol=1e-12)
        np.testing.assert_allclose(weigh(w.T, g.T, fisher.T, 1), numbers, rtol=1e-12)
        bias = weigh(w[0], g[0], fisher[0], 0)
        np.testing.assert_allclose(bias, weigh(w[0][:, None], g[0][:, None], fisher[0][:, None], 0))


def test_a_group_is_weighed_by_its_part_in_each_parameter():
    a, b = np.arange(12.0).reshape(4, 3), np.arange(8.0).reshape(2, 4)
    groups = Groups(members={("x.a.weight", 0): np.array([[0, 2], [1, 3]]),
                             ("x.b.weight", 1): np.array([[0, 2], [3, 1]])})  # fmt: skip
    params = {"x.a.weight": a, "x.b.weight": b}
    parts = np.array([[3 + 21.0, 12 + 30], [4.0 + 8, 10 + 6]])
    expected = {"sum": parts.sum(0), "product": np.log(parts.prod(0)), "max": parts.max(0),
                "last": parts[1]}  # fmt: skip
    assert expected.keys() == AGGREGATES.keys()
    for aggregate, numbers in expected.items():
        found = group_importance(tinyllm_numpy, params, None, groups, "l1", aggregate)
        np.testing.assert_allclose(found, numbers)


@pytest.mark.parametrize("how", IMPORTANCES)
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_group_of_zeros_is_the_least_important(how, aggregate):
    params = dict(PARAMS)
    kinds = [groups for groups in find_groups(CONFIG) if groups.block == 1]
    for groups in kinds:
        for (name, axis), which in groups.members.items():
            x = np.moveaxis(params[name].copy(), axis, 0)
            x[which[1]] = 0.0
            params[name] = np.moveaxis(x, 0, axis)
    slopes = loss_slopes(tinyllm_numpy, params, CONFIG, TOKENS, fisher=True)
    for groups in kinds:
        found = group_importance(tinyllm_numpy, params, slopes, groups, how, aggregate)
        assert found[1] == (-np.inf if aggregate == "product" else 0.0)
        assert found.argmin() == 1
        assert len(found) == len(groups)


def test_the_text_twice_says_the_same(xp):
    params = {name: xp.asarray(x) for name, x in PARAMS.items()}
    once, twice = (
        loss_slopes(xp, params, CONFIG, tokens, fisher=True)
        for tokens in (TOKENS, np.concatenate([TOKENS, TOKENS]))
    )
    for name in PARAMS:
        for kind in ("gradient", "fisher"):
            a, b = (xp.to_numpy(getattr(of, kind)[name]) for of in (once, twice))
            np.testing.assert_allclose(a, b, atol=1e-14)


def test_samples_of_one_token_are_refused():
    with pytest.raises(UsageError, match="seqlen must be at least 2"):
        loss_slopes(tinyllm_numpy, PARAMS, CONFIG, TOKENS[:, :1], fisher=False)


def test_a_loss_that_is_no_number_is_told_with_the_place():
    groups = next(groups for groups in find_groups(CONFIG) if groups.block == 0)
    bad = Slopes(gradient={name: x * np.nan for name, x in PARAMS.items()}, fisher={})
    with pytest.raises(CheckpointError, match=r"model\.layers\.0\.self_attn: .* not finite"):
        group_importance(tinyllm_numpy, PARAMS, bad, groups, "element1", "sum")
