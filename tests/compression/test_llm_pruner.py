"""tinyllm.compression.llm_pruner: which groups go, and what model is left."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tiny import random_params, tiny_config
from tinyllm.compression.llm_pruner import (
    CHANNEL,
    MODEL,
    Choice,
    inner_layers,
    lowest_groups,
    prune_groups,
)
from tinyllm.compression.taylor import group_importance, loss_slopes
from tinyllm.errors import UsageError
from tinyllm.models.config import param_shapes
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.positions import Sinusoidal
from tinyllm.params import nest

CONFIG = tiny_config(n_layers=4, d_ff=8)
PARAMS = random_params(CONFIG)
TOKENS = np.random.default_rng(1).integers(0, CONFIG.vocab_size, (4, 7))
ALL = range(4)


def prune(xp=tinyllm_numpy, config=CONFIG, **options):
    params = {name: xp.asarray(x) for name, x in PARAMS.items()}
    return prune_groups(xp, params, config, Choice(**options), TOKENS)


def test_of_32_layers_4_and_2_stay_whole_as_in_the_paper():
    assert inner_layers(32) == range(4, 30)
    assert [inner_layers(n) for n in (1, 2, 3, 6)] == [
        range(1, 0),
        range(1, 1),
        range(1, 2),
        range(1, 5),
    ]


def test_the_groups_of_least_importance_go_from_the_layers_in_between(xp):
    gone, params, config = prune(xp, sparsity=0.5)
    slopes = loss_slopes(tinyllm_numpy, PARAMS, CONFIG, TOKENS, fisher=False)
    assert [groups.where for groups, _ in gone] == [
        f"model.layers.{i}.{part}" for i in (1, 2) for part in ("self_attn", "mlp")
    ]
    for groups, which in gone:
        weights = group_importance(tinyllm_numpy, PARAMS, slopes, groups, "element1", "sum")
        assert which == sorted(np.argsort(weights)[: len(groups) // 2].tolist())
    assert [(b.n_heads, b.n_kv_heads, b.d_ff) for b in config.blocks] == [
        (4, 2, 8), (2, 1, 4), (2, 1, 4), (4, 2, 8)
    ]  # fmt: skip
    assert {name: x.shape for name, x in params.items()} == param_shapes(config)
    logits, _ = decoder_forward(xp, xp.asarray(TOKENS), nest(params), config)
    assert np.isfinite(xp.to_numpy(logits)).all()


def test_from_all_layers_alike_the_model_stays_one_of_its_family():
    _, params, config = prune(sparsity=0.25, layers=ALL)
    assert config.blocks is None
    assert (config.n_heads, config.n_kv_heads, config.d_ff) == (4, 2, 6)
    assert {name: x.shape for name, x in params.items()} == param_shapes(config)


def test_among_all_layers_the_lowest_go_wherever_they_are_but_one_stays_in_each():
    gone, _, config = prune(sparsity=0.5, layers=ALL, within=MODEL)
    slopes = loss_slopes(tinyllm_numpy, PARAMS, CONFIG, TOKENS, fisher=False)
    for sort, n in (("mlp", 8), ("self_attn", 2)):
        of_sort = [(groups, which) for groups, which in gone if groups.where.endswith(sort)]
        assert sum(len(which) for _, which in of_sort) == 4 * n // 2
        went, stayed = [], []
        for groups, which in of_sort:
            weights = group_importance(tinyllm_numpy, PARAMS, slopes, groups, "element1", "sum")
            went += weights[which].tolist()
            stays = np.delete(weights, which)
            assert len(stays) >= 1
            stayed += np.delete(stays, stays.argmax()).tolist()
        assert max(went) <= min(stayed, default=np.inf)
    assert sum(block.d_ff for block in config.blocks) == 16


def test_channels_of_the_stream_go_from_the_whole_model():
    gone, params, config = prune(sparsity=0.34, structure=CHANNEL)
    ((groups, which),) = gone
    assert (groups.where, len(which), config.d_model) == ("model", 2, 4)
    assert {name: x.shape for name, x in params.items()} == param_shapes(config)


@pytest.mark.parametrize("importance", ["vector", "element2", "mix", "l1", "l2", "random"])
def test_every_importance_takes_as_many(importance):
    _, params, config = prune(sparsity=0.5, importance=importance, layers=ALL)
    assert (config.n_kv_heads, config.d_ff) == (1, 4)
    assert {name: x.shape for name, x in params.items()} == param_shapes(config)


def test_chance_is_a_matter_of_the_seed():
    found = [[which for _, which in prune(sparsity=0.5, importance="random", seed=s)[0]]
             for s in (1, 1, 2)]  # fmt: skip
    assert found[0] == found[1] != found[2]


def test_a_sparsity_of_0_changes_nothing():
    for options in ({}, {"structure": CHANNEL}, {"within": MODEL}):
        gone, params, config = prune(sparsity=0.0, layers=ALL, **options)
        assert config == CONFIG
        assert not any(which for _, which in gone)
        assert all((params[name] == x).all() for name, x in PARAMS.items())


def test_what_was_pruned_can_be_pruned_again():
    _, once, config = prune(sparsity=0.25)
    _, twice, again = prune_groups(tinyllm_numpy, once, config, Choice(sparsity=0.5), TOKENS)
    assert [block.d_ff for block in again.blocks] == [8, 3, 3, 8]
    assert {name: x.shape for name, x in twice.items()} == param_shapes(again)


@given(rngs, st.lists(st.integers(1, 6), min_size=1, max_size=4), st.floats(0, 0.999))
def test_the_lowest_go_and_of_each_kind_one_stays(rng, sizes, sparsity):
    weights = [rng.integers(0, 5, n).astype(float) for n in sizes]
    count = int(sum(sizes) * sparsity + 1e-9)
    if count > sum(sizes) - len(sizes):
        with pytest.raises(UsageError, match="would leave nothing of a layer"):
            lowest_groups(weights, sparsity)
        return
    gone = lowest_groups(weights, sparsity)
    assert sum(map(len, gone)) == count
    assert all(len(which) < len(w) for which, w in zip(gone, weights))
    highest = max((w[i] for w, which in zip(weights, gone) for i in which), default=-1)
    for w, which in zip(weights, gone):
        stay = np.delete(w, which)
        assert (np.delete(stay, stay.argmax()) >= highest).all()


BAD = {
    "sparsity 1": ({"sparsity": 1.0}, "sparsity is 1.0, expected 0 ≤ sparsity < 1"),
    "sparsity below 0": ({"sparsity": -0.1}, "sparsity is -0.1"),
    "sparsity nan": ({"sparsity": float("nan")}, "sparsity is nan"),
    "nothing left": ({"sparsity": 0.99, "within": MODEL}, "would leave nothing of a layer"),
    "layers": (
        {"sparsity": 0.5, "layers": [2, 4]},
        "layers up to 4 are to be pruned, .*has 4, 0 to 3",
    ),
    "no layers": ({"sparsity": 0.5, "layers": []}, "no layer is to be pruned"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused(case):
    options, line = BAD[case]
    with pytest.raises(UsageError, match=line):
        prune(**options)


def test_a_text_is_needed_where_the_loss_decides():
    with pytest.raises(UsageError, match="importance element1 needs a calibration text"):
        prune_groups(tinyllm_numpy, PARAMS, CONFIG, Choice(sparsity=0.5))
    prune_groups(tinyllm_numpy, PARAMS, CONFIG, Choice(sparsity=0.5, importance="l2"))


def test_channels_that_positions_are_made_of_stay():
    config = tiny_config(n_layers=4, d_ff=8, positions=Sinusoidal())
    with pytest.raises(UsageError, match="sinusoidal positions are of all channels"):
        prune(config=config, sparsity=0.5, structure=CHANNEL)
