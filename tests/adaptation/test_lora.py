"""tinyllm.adaptation.lora: adapters, what they learn, and the plain model that does the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tiny import configs, random_params, tiny_config
from tinyllm.adaptation.lora import (
    Adapted,
    Lora,
    adapted_modules,
    adapted_tree,
    init_adapters,
    linear_maps,
    merged,
)
from tinyllm.errors import UsageError
from tinyllm.models.decoder import decoder_backward, decoder_forward
from tinyllm.models.experts import Experts
from tinyllm.ops.routing import Routing
from tinyllm.params import nest
from tinyllm.training.gradients import gradients_at_once
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.windows import Windows, WindowsInOrder

CONFIG = tiny_config()
LORA = Lora(rank=3, alpha=6.0)
TOKENS = np.random.default_rng(1).integers(0, 11, (3, 5))
TARGETS = np.random.default_rng(2).integers(0, 11, (3, 5))


def drawn(config, lora, seed=0):
    rng = np.random.default_rng(seed)
    adapters = init_adapters(config, lora, rng, np.float64)
    return {name: 0.5 * rng.standard_normal(x.shape) for name, x in adapters.items()}


def logits(xp, config, tree):
    return xp.to_numpy(decoder_forward(xp, xp.asarray(TOKENS), tree, config)[0])


def on(xp, params):
    return {name: xp.asarray(x) for name, x in params.items()}


@given(configs, st.integers(1, 4), rngs)
def test_a_merged_model_does_what_the_adapted_one_does(xp, config, rank, rng):
    lora = Lora(rank=rank, alpha=float(rng.uniform(0.5, 8)))
    base, adapters = on(xp, random_params(config)), on(xp, drawn(config, lora))
    adapted = logits(xp, config, adapted_tree(config, base, adapters, lora))
    plain = logits(xp, config, nest(merged(xp, base, adapters, lora)))
    assert np.abs(adapted - plain).max() <= 1e-12 * max(1.0, np.abs(plain).max())


@given(configs)
def test_new_adapters_change_nothing(config):
    base = random_params(config)
    adapters = init_adapters(config, LORA, np.random.default_rng(0), np.float64)
    adapted = logits(tinyllm_numpy, config, adapted_tree(config, base, adapters, LORA))
    np.testing.assert_array_equal(adapted, logits(tinyllm_numpy, config, nest(base)))
    for name, x in merged(tinyllm_numpy, base, adapters, LORA).items():
        np.testing.assert_array_equal(x, base[name])


def test_a_full_rank_can_make_any_matrix():
    name = "model.layers.0.self_attn.q_proj"
    base = random_params(CONFIG)
    wanted = np.random.default_rng(5).standard_normal(base[f"{name}.weight"].shape)
    full = Lora(rank=6, alpha=3.0, targets=(name,))
    change = (wanted - base[f"{name}.weight"]) / full.scale
    adapters = {f"{name}.lora_A.weight": np.eye(6), f"{name}.lora_B.weight": change}
    new = merged(tinyllm_numpy, base, adapters, full)
    np.testing.assert_allclose(new[f"{name}.weight"], wanted, atol=1e-14)


def test_gradients_are_the_merged_model_s_through_the_product(xp):
    base, adapters = on(xp, random_params(CONFIG)), on(xp, drawn(CONFIG, LORA))
    tree = adapted_tree(CONFIG, base, adapters, LORA)
    found = gradients_at_once(xp, CONFIG, tree, TOKENS, TARGETS)
    whole = nest(merged(xp, base, adapters, LORA))
    plain = gradients_at_once(xp, CONFIG, whole, TOKENS, TARGETS)
    assert found.loss_sum == pytest.approx(plain.loss_sum, rel=1e-12)
    for module in adapted_modules(CONFIG, LORA):
        dweight = xp.to_numpy(plain.grads[f"{module}.weight"])
        a, b = (xp.to_numpy(adapters[f"{module}.lora_{x}.weight"]) for x in "AB")
        for name, expected in (("A", 2.0 * b.T @ dweight), ("B", 2.0 * dweight @ a.T)):
            grad = xp.to_numpy(found.grads[f"{module}.lora_{name}.weight"])
            np.testing.assert_allclose(grad, expected, rtol=0, atol=1e-11)


def test_what_stays_as_it_is_has_no_gradient():
    lora = Lora(rank=2, alpha=2.0, targets=("q_proj", "v_proj"))
    base = random_params(CONFIG)
    tree = adapted_tree(CONFIG, base, drawn(CONFIG, lora), lora)
    z, saved = decoder_forward(tinyllm_numpy, TOKENS, tree, CONFIG)
    _, grads = decoder_backward(tinyllm_numpy, np.ones_like(z), saved)
    of_blocks = {name for name in grads if "_proj" in name}
    assert of_blocks == {
        f"model.layers.{i}.self_attn.{p}_proj.lora_{x}.weight"
        for i in (0, 1) for p in "qv" for x in "AB"
    }  # fmt: skip


def test_targets_are_ends_of_names():
    modules = adapted_modules(CONFIG, Lora(rank=1, alpha=1.0, targets=("mlp.up_proj", "o_proj")))
    assert modules == [
        f"model.layers.{i}.{m}" for i in (0, 1) for m in ("self_attn.o_proj", "mlp.up_proj")
    ]
    assert adapted_modules(CONFIG, LORA) == linear_maps(CONFIG)
    assert len(linear_maps(CONFIG)) == 14
    with pytest.raises(UsageError, match="is called 'proj'; there are q_proj, k_proj, v_proj, o_"):
        adapted_modules(CONFIG, Lora(rank=1, alpha=1.0, targets=("proj",)))


def test_experts_are_left_alone():
    experts = Experts(n_experts=3, d_ff=5, routing=Routing(k=1, renormalise=True))
    config = tiny_config(experts=experts)
    assert {m.rpartition(".")[2] for m in linear_maps(config)} == {
        "q_proj", "k_proj", "v_proj", "o_proj"
    }  # fmt: skip
    tree = adapted_tree(config, random_params(config), drawn(config, LORA), LORA)
    found = gradients_at_once(tinyllm_numpy, config, tree, TOKENS, TARGETS)
    assert all(f"{m}.lora_A.weight" in found.grads for m in linear_maps(config))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"rank": 0, "alpha": 1.0}, "the rank is 0"),
        ({"rank": 1, "alpha": 0.0}, "alpha is 0.0"),
        ({"rank": 1, "alpha": float("nan")}, "alpha is nan"),
    ],
)
def test_numbers_out_of_range_are_refused(options, line):
    with pytest.raises(UsageError, match=line):
        Lora(**options)


def test_adapters_learn_and_the_base_does_not():
    base = random_params(CONFIG)
    kept = {name: x.copy() for name, x in base.items()}
    adapters = init_adapters(CONFIG, LORA, np.random.default_rng(0), np.float64)
    tokens = np.random.default_rng(1).integers(0, 11, 200)
    trainer = Trainer(
        tinyllm_numpy, CONFIG, adapters, Windows(tokens[:60], 6),
        Settings(steps=30, batch_size=4, seq_len=6, lr=0.02, eval_every=30),
        validation=WindowsInOrder(tokens[:60], 6),
        parts=Adapted(config=CONFIG, base=base, lora=LORA),
    )  # fmt: skip
    reports = list(trainer)
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert all((base[name] == x).all() for name, x in kept.items())
    assert set(trainer.params) == set(adapters)
    plain = Trainer(
        tinyllm_numpy, CONFIG, trainer.parts.model(tinyllm_numpy, trainer.result),
        Windows(tokens, 6), Settings(steps=1, batch_size=4, seq_len=6),
        validation=WindowsInOrder(tokens[:60], 6),
    )  # fmt: skip
    assert plain.evaluate() == pytest.approx(trainer.evaluate(), rel=1e-12)
