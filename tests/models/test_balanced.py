"""tinyllm.models.balance: the losses of whole models, by their formulas and as sums of texts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tiny import tree_of
from tinyllm.errors import UsageError
from tinyllm.models.architecture import architecture
from tinyllm.models.balance import Balance, balanced
from tinyllm.models.examples import example_config, random_params
from tinyllm.training.gradients import added, batch_gradients
from tinyllm.training.objective import Objective

EACH = Balance(expert=0.5, device=0.4, travel=0.3, mixtral=0.2, z=0.1)
MIXTURES = ["mixtral", "deepseek_v2-groups", "tinyllm-experts"]


def forward(xp, name, tokens, seed=0):
    config = example_config(name)
    params = random_params(config, np.random.default_rng(seed))
    _, saved = architecture(config).forward(xp, xp.asarray(tokens), tree_of(xp, params), config)
    return saved


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def closed_forms(xp, saved, counted):
    """Return every loss, expert by expert and text by text, from the scores alone."""
    routing, found = saved["config"].experts.routing, dict.fromkeys(EACH.weights(), 0.0)
    layers = [s["mlp"] for s in saved["layers"] if "scores" in s["mlp"]]
    B, T, _ = layers[0]["shape"]
    scores = np.stack([xp.to_numpy(s["scores"]) for s in layers]).reshape(len(layers), B, T, -1)
    ids = np.stack([xp.to_numpy(s["ids"]) for s in layers]).reshape(len(layers), B, T, -1)
    E, k, size = scores.shape[-1], routing.k, scores.shape[-1] // routing.groups
    for layer, text in np.ndindex(len(layers), B):
        probs, chosen = softmax(scores[layer, text]).mean(0), ids[layer, text]
        f = np.array([E / (k * T) * (chosen == e).sum() for e in range(E)])
        visited = np.array([(chosen // size == g).any(-1).sum() for g in range(routing.groups)])
        grouped = probs.reshape(-1, size).sum(-1)
        losses = {
            "expert": (f * probs).sum(),
            "device": (f.reshape(-1, size).mean(-1) * grouped).sum(),
            "travel": routing.groups / (routing.groups_kept * T) * (visited * grouped).sum(),
            "z": (np.log(np.exp(scores[layer, text]).sum(-1)) ** 2).mean(),
        }
        for name, loss in losses.items():
            found[name] += counted[text] * loss
    f = np.array([(ids == e).sum() for e in range(E)]) / (len(layers) * B * T)
    found["mixtral"] = sum(counted) * E * (f * softmax(scores).reshape(-1, E).mean(0)).sum()
    return found, np.stack([[(layer == e).sum() for e in range(E)] for layer in ids])


@pytest.mark.parametrize("name", MIXTURES)
@settings(max_examples=3)
@given(st.integers(1, 3), st.integers(1, 6), rngs)
def test_each_loss_is_what_its_sum_says(xp, name, B, T, rng):
    saved, counted = forward(xp, name, rng.integers(0, 11, (B, T))), rng.integers(1, 9, B)
    routed, _ = balanced(xp, saved, EACH, xp.asarray(counted.astype(np.float64)))
    expected, sent = closed_forms(xp, saved, counted)
    assert routed.losses.keys() == expected.keys()
    for loss, value in routed.losses.items():
        assert value == pytest.approx(expected[loss], rel=1e-12), loss
    np.testing.assert_array_equal(routed.sent, sent)
    np.testing.assert_allclose(routed.load.mean(-1), 1.0, rtol=1e-13)


def grads_of(name, tokens, targets, balance, seed=0):
    config = example_config(name)
    tree = tree_of(tinyllm_numpy, random_params(config, np.random.default_rng(seed)))
    return batch_gradients(
        tinyllm_numpy, config, tree, tokens, targets, objective=Objective(balance=balance)
    )


def draw_text(rng, B, T):
    tokens, targets = rng.integers(0, 11, (2, B, T))
    targets[rng.random((B, T)) < 0.3] = -100
    return tokens, targets


@pytest.mark.parametrize("name", MIXTURES)
def test_losses_of_a_text_add_up_over_texts(name):
    """However a batch is cut; only mixtral's is of all that is in work at once."""
    balance = Balance(expert=0.5, device=0.4, travel=0.3, z=0.1)
    tokens, targets = draw_text(np.random.default_rng(0), 5, 4)
    whole = grads_of(name, tokens, targets, balance)
    parts = added(
        [grads_of(name, tokens[i : i + 1], targets[i : i + 1], balance) for i in range(5)]
    )
    assert parts.routed.losses == pytest.approx(whole.routed.losses, rel=1e-12)
    np.testing.assert_array_equal(parts.routed.sent, whole.routed.sent)
    for key, grad in whole.grads.items():
        np.testing.assert_allclose(parts.grads[key], grad, rtol=0, atol=1e-11)


def test_without_a_weight_only_the_load_is_told_and_nothing_else_changes():
    tokens, targets = draw_text(np.random.default_rng(0), 2, 4)
    plain, even = (grads_of("mixtral", tokens, targets, b) for b in (Balance(), Balance(z=1e-9)))
    assert plain.routed.losses == {}
    assert plain.routed.sent.sum() == 2 * 8 * 2  # layers, tokens, choices
    assert plain.loss_sum == even.loss_sum
    for key, grad in plain.grads.items():
        np.testing.assert_allclose(even.grads[key], grad, rtol=0, atol=1e-6)


def test_what_was_saved_is_left_as_it_is():
    saved = forward(tinyllm_numpy, "mixtral", np.ones((1, 3), np.int64))
    _, changed = balanced(tinyllm_numpy, saved, EACH, np.ones(1))
    assert all("dscores" not in s["mlp"] for s in saved["layers"])
    assert all("dscores" in s["mlp"] for s in changed["layers"])


@pytest.mark.parametrize("balance", [Balance(), EACH])
def test_an_expert_that_no_token_is_sent_has_a_gradient_of_exactly_zero(balance):
    """In a whole model, too; its row of the router learns all the same that it was passed over."""
    tokens, targets = np.full((1, 2), 3), np.full((1, 2), 4)
    found = grads_of("tinyllm-experts", tokens, targets, balance, seed=1)
    (idle,) = np.flatnonzero(found.routed.sent[0] == 0)  # two equal tokens pass 2 of 3
    name = "model.layers.1.mlp"
    for key, grad in found.grads.items():
        if key.startswith(f"{name}.experts."):
            assert grad.any() == (f"experts.{idle}." not in key), key
    row = found.grads[f"{name}.gate.weight"][idle]
    assert (np.abs(row).max() > 1e-12) == bool(balance.weights())


def test_models_without_mixtures_have_nothing_to_balance():
    for name in ("llama", "lstm"):
        tokens, targets = draw_text(np.random.default_rng(0), 2, 4)
        assert grads_of(name, tokens, targets, EACH).routed is None


@pytest.mark.parametrize("weight", [-0.1, np.inf, np.nan])
def test_a_weight_out_of_its_range_is_refused(weight):
    with pytest.raises(UsageError, match="balance has z="):
        Balance(z=weight)
