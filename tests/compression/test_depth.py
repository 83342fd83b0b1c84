"""tinyllm.compression.depth"""

import numpy as np
import pytest

from tiny import random_params, tiny_config, tree_of
from tinyllm.compression.depth import (
    BlockFacts,
    block_facts,
    fit_maps_in_order,
    fit_maps_to_dense,
    least_needed,
    logits_with,
    remove_layers,
    residual_streams,
)
from tinyllm.compression.linearity import block_influence, linearity_score
from tinyllm.errors import UsageError
from tinyllm.models.block import Block, blocks_of, with_blocks
from tinyllm.models.config import param_shapes
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.trace import traced

CONFIG = tiny_config(n_layers=4, windows=(None, 2, 3, None))
TOKENS = np.random.default_rng(1).integers(0, CONFIG.vocab_size, (6, 15))
KEYS = ("linearity", "without_residual", "adjusted", "influence")


@pytest.fixture
def p(xp):
    return tree_of(xp, random_params(CONFIG))


def rows(xp, x):
    return np.asarray(xp.to_numpy(x)).reshape(-1, x.shape[-1])


def streams(xp, p, config=CONFIG, maps=None):
    return [rows(xp, x) for x in residual_streams(xp, p, config, TOKENS, maps)]


def test_facts_are_of_what_goes_into_and_out_of_each_block(xp, p):
    _, saved = decoder_forward(xp, xp.asarray(TOKENS), p, CONFIG)
    names = [*(f"layers.{i}.input" for i in range(4)), "layers.3"]
    ends = [rows(xp, x) for x in traced(xp, saved, names).values()]
    for facts, x, y in zip(block_facts(xp, p, CONFIG, TOKENS), ends[:-1], ends[1:], strict=True):
        assert facts.linearity == pytest.approx(linearity_score(x, y), abs=1e-9)
        assert facts.without_residual == pytest.approx(linearity_score(x, y - x), abs=1e-9)
        assert facts.influence == pytest.approx(block_influence(x, y), abs=1e-9)
        assert facts.adjusted == pytest.approx(1 - (1 - facts.linearity) * 89 / 83, abs=1e-9)


def test_too_few_tokens_are_refused(xp, p):
    with pytest.raises(UsageError, match="60 tokens are too few for 6 features"):
        block_facts(xp, p, CONFIG, TOKENS[:4])


def test_the_most_linear_or_least_influential_go():
    numbers = [(0.7, 0.3), (0.9, 0.1), (0.8, 0.05), (0.8, 0.2)]
    facts = [BlockFacts(**dict(zip(KEYS, (a, 0.0, 0.0, b)))) for a, b in numbers]
    assert [least_needed(facts, "linearity", n) for n in range(4)] == [[], [1], [1, 2], [1, 2, 3]]
    assert [least_needed(facts, "influence", n) for n in range(4)] == [[], [2], [1, 2], [1, 2, 3]]
    for count in (-1, 4):
        with pytest.raises(UsageError, match=f"{count} layers to remove, and the model has 4"):
            least_needed(facts, "linearity", count)


@pytest.mark.parametrize("gone", [[], [0], [3], [1, 2], [0, 2, 3]])
def test_a_model_without_some_blocks_computes_what_it_would_if_they_were_skipped(xp, p, gone):
    stay = [i for i in range(4) if i not in gone]
    params, smaller = remove_layers(random_params(CONFIG), CONFIG, gone)
    assert {name: x.shape for name, x in params.items()} == param_shapes(smaller)
    assert smaller.n_layers == len(stay)
    assert smaller.windows == tuple(CONFIG.windows[i] for i in stay)
    found, _ = decoder_forward(xp, xp.asarray(TOKENS), tree_of(xp, params), smaller)

    identity = fit_maps_to_dense(xp, p, CONFIG, TOKENS, gone)
    for i, linear in identity.items():
        zero = np.zeros_like(linear.mean_x)
        identity[i] = type(linear)(mean_x=zero, matrix=np.eye(CONFIG.d_model), mean_y=zero)
    expected = logits_with(xp, TOKENS, p, CONFIG, identity)
    np.testing.assert_allclose(xp.to_numpy(found), xp.to_numpy(expected), atol=1e-10)


def test_blocks_that_stay_keep_their_kind_and_sizes():
    blocks = [Block(layout="mlp_only", d_ff=5), *blocks_of(CONFIG)[:2], Block(layout="linear")]
    config = with_blocks(CONFIG, blocks)
    params, smaller = remove_layers(random_params(config), config, [1])
    assert blocks_of(smaller) == [blocks[i] for i in (0, 2, 3)]
    assert {name: x.shape for name, x in params.items()} == param_shapes(smaller)
    _, alike = remove_layers(random_params(config), config, [0, 3])
    assert alike.blocks is None


@pytest.mark.parametrize("gone", [[4], [-1], [0, 1, 2, 3]])
def test_blocks_that_are_not_there_or_are_all_cannot_be_removed(gone):
    with pytest.raises(UsageError, match="cannot be removed from a model that has 4, 0 to 3"):
        remove_layers(random_params(CONFIG), CONFIG, gone)


def test_without_maps_the_scores_are_the_models(xp, p):
    expected, _ = decoder_forward(xp, xp.asarray(TOKENS), p, CONFIG)
    found = logits_with(xp, TOKENS, p, CONFIG, {})
    np.testing.assert_allclose(xp.to_numpy(found), xp.to_numpy(expected), atol=1e-12)


def test_on_the_calibration_text_a_map_is_never_worse_than_nothing_in_its_place(xp, p):
    dense = streams(xp, p)
    maps = fit_maps_to_dense(xp, p, CONFIG, TOKENS, range(4))
    assert list(maps) == [0, 1, 2, 3]
    for i, linear in maps.items():
        x, y = dense[i], dense[i + 1]
        removed, replaced = np.sum((y - x) ** 2), np.sum((y - linear(x)) ** 2)
        assert replaced <= removed
        expected = np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(axis=0), rcond=None)[0]
        np.testing.assert_allclose(linear.matrix, expected, atol=1e-8)


def test_in_order_each_map_is_fitted_to_what_it_is_given_and_what_the_dense_model_gave(xp, p):
    dense = streams(xp, p)
    maps = fit_maps_in_order(xp, p, CONFIG, TOKENS, [1, 2])
    now = streams(xp, p, maps=maps)
    np.testing.assert_allclose(now[1], dense[1], atol=1e-12)
    for i, linear in maps.items():
        np.testing.assert_allclose(now[i + 1], linear(now[i]), atol=1e-10)
        expected = np.linalg.lstsq(
            now[i] - now[i].mean(axis=0), dense[i + 1] - dense[i + 1].mean(axis=0), rcond=None
        )[0]
        np.testing.assert_allclose(linear.matrix, expected, atol=1e-7)
    from_dense = streams(xp, p, maps=fit_maps_to_dense(xp, p, CONFIG, TOKENS, [1, 2]))
    assert np.sum((now[3] - dense[3]) ** 2) <= np.sum((from_dense[3] - dense[3]) ** 2)


def test_in_the_place_of_a_linear_block_a_map_changes_nothing(xp):
    params = random_params(CONFIG)
    for name in params:  # a block that adds nothing is linear
        if "layers.2." in name and name.split(".")[-2] in ("o_proj", "down_proj"):
            params[name] = np.zeros_like(params[name])
    p = tree_of(xp, params)
    maps = fit_maps_to_dense(xp, p, CONFIG, TOKENS, [2])
    found, expected = (logits_with(xp, TOKENS, p, CONFIG, m) for m in (maps, {}))
    np.testing.assert_allclose(xp.to_numpy(found), xp.to_numpy(expected), atol=1e-9)
    assert block_facts(xp, p, CONFIG, TOKENS)[2].linearity == pytest.approx(1.0)
