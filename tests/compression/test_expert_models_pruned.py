"""Pruning where a matrix may be given nothing, and where not every block is of the same kind."""

import numpy as np
import pytest

import tinyllm_numpy as xp
from tinyllm.compression.depth import remove_layers
from tinyllm.compression.masks import Unstructured
from tinyllm.compression.pruning import prune_params
from tinyllm.errors import UsageError
from tinyllm.models.config import param_shapes
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.examples import example_config, random_params
from tinyllm.params import nest

HALF = Unstructured(sparsity=0.5)


def drawn(name, T=40):
    config, rng = example_config(name), np.random.default_rng(0)
    return config, random_params(config, rng), rng.integers(0, config.vocab_size, (4, T))


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v2"])
@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_every_matrix_of_a_mixture_is_pruned_but_its_gate(name, method):
    config, params, tokens = drawn(name)
    pruned = prune_params(xp, params, config, method, HALF, tokens)
    for key, x in pruned.items():
        if key.startswith("model.layers.") and x.ndim == 2:
            zeros = (x == 0.0).mean()
            assert zeros == 0.0 if key.endswith(".gate.weight") else 0.3 < zeros < 0.7, key
    p = nest(pruned)
    assert np.isfinite(decoder_forward(xp, tokens, p, config)[0]).all()


def test_an_expert_that_one_half_of_the_text_never_reaches_is_pruned_by_the_other():
    """Two workers listen to half of the texts each."""
    config, params, tokens = drawn("mixtral", T=1024)
    lonely = tokens[:2].copy()
    lonely[1] = lonely[0, 0]  # one token over and over is sent to two of three experts
    prune_params(xp, params, config, "wanda", HALF, lonely)
    prune_params(xp, params, config, "wanda", HALF, lonely[::-1])


def test_an_expert_that_nothing_is_sent_to_is_no_guesswork():
    config, params, tokens = drawn("mixtral", T=1)
    with pytest.raises(UsageError, match=r"sent to model\.layers\.0\.mlp\.experts\.\d\..*more"):
        prune_params(xp, params, config, "wanda", HALF, tokens[:1])


def test_a_removed_dense_block_moves_where_the_mixtures_begin():
    config, params, tokens = drawn("deepseek_v2", T=5)
    assert config.experts.first == 1
    for gone, first in ((0, 0), (1, 1)):
        kept, smaller = remove_layers(params, config, [gone])
        assert smaller.experts.first == first
        assert {k: x.shape for k, x in kept.items()} == param_shapes(smaller)
        assert decoder_forward(xp, tokens, nest(kept), smaller)[0].shape == (4, 5, 11)
