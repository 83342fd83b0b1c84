"""tinyllm.compression.pruning"""

import numpy as np
import pytest

from compression.test_calibration import given_to
from tiny import random_params, tiny_config
from tinyllm.compression.masks import MATRIX, NofM, Unstructured
from tinyllm.compression.pruning import METHODS, prune_params
from tinyllm.compression.sparsegpt import sparsegpt
from tinyllm.errors import CheckpointError, UsageError
from tinyllm.models.decoder import decoder_forward
from tinyllm.params import nest

CONFIG = tiny_config(n_layers=3, d_ff=8)
TOKENS = np.random.default_rng(3).integers(0, CONFIG.vocab_size, (4, 6))
HALF = Unstructured(sparsity=0.5)


def pruned_by_whole_passes(xp, params, prune):
    """Prune a block by one forward pass of the whole model, then the next by another."""
    now = dict(params)
    for index in range(CONFIG.n_layers):
        _, saved = decoder_forward(xp, xp.asarray(TOKENS), nest(now), CONFIG)
        for name, x in params.items():
            if name.startswith(f"model.layers.{index}.") and x.ndim == 2:
                now[name] = xp.asarray(prune(np.array(xp.to_numpy(x)), given_to(xp, saved, name)))
    return now


def on(xp, params):
    return {name: xp.asarray(x) for name, x in params.items()}


def assert_same(xp, found, expected, atol=0.0):
    assert found.keys() == expected.keys()
    for name, x in found.items():
        np.testing.assert_allclose(
            xp.to_numpy(x), xp.to_numpy(expected[name]), atol=atol, err_msg=name
        )


def test_wanda_equals_brute_force_through_the_whole_model(xp):
    params = on(xp, random_params(CONFIG))

    def brute_force(weight, x):
        norms = np.linalg.norm(x, axis=0)
        for row in weight:
            for j in sorted(range(len(row)), key=lambda j: abs(row[j]) * norms[j])[: len(row) // 2]:
                row[j] = 0.0
        return weight

    found = prune_params(xp, params, CONFIG, "wanda", HALF, TOKENS)
    assert_same(xp, found, pruned_by_whole_passes(xp, params, brute_force))


def test_sparsegpt_is_given_the_gram_matrix_of_the_inputs(xp):
    params = on(xp, random_params(CONFIG))
    found = prune_params(xp, params, CONFIG, "sparsegpt", HALF, TOKENS)
    expected = pruned_by_whole_passes(xp, params, lambda w, x: sparsegpt(w, x.T @ x, HALF))
    assert_same(xp, found, expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pattern", [HALF, NofM(zeros=1, of=2)], ids=["half", "1:2"])
def test_every_row_of_a_blocks_matrices_is_pruned_and_nothing_else(xp, method, pattern):
    params = on(xp, random_params(CONFIG))
    found = prune_params(xp, params, CONFIG, method, pattern, TOKENS)
    for name, x in found.items():
        if "proj" not in name:
            assert x is params[name]
            continue
        x = np.asarray(xp.to_numpy(x))
        if isinstance(pattern, NofM):
            assert ((x.reshape(-1, 2) == 0).sum(axis=1) == 1).all()
        elif method == "sparsegpt":
            assert (x == 0).sum() == x.size // 2
        else:
            assert ((x == 0).sum(axis=1) == x.shape[1] // 2).all()


@pytest.mark.parametrize("method", METHODS)
def test_without_sparsity_nothing_changes(xp, method):
    params = on(xp, random_params(CONFIG, dtype=np.float32))
    found = prune_params(xp, params, CONFIG, method, Unstructured(sparsity=0.0), TOKENS)
    for name, x in found.items():
        assert (
            np.asarray(xp.to_numpy(x)).tobytes() == np.asarray(xp.to_numpy(params[name])).tobytes()
        )


def test_magnitude_needs_no_text_and_may_compare_the_whole_matrix():
    import tinyllm_numpy as xp

    params, whole = random_params(CONFIG), Unstructured(sparsity=0.5, within=MATRIX)
    found = prune_params(xp, params, CONFIG, "magnitude", whole)
    for name, x in found.items():
        if "proj" in name:
            kept, gone = np.abs(x[x != 0]), np.abs(params[name][x == 0])
            assert len(kept) == len(gone)
            assert kept.min() >= gone.max()
    with pytest.raises(UsageError, match="wanda needs a calibration text"):
        prune_params(xp, params, CONFIG, "wanda", HALF)


def test_what_is_skipped_stays_dense_and_need_not_fit():
    import tinyllm_numpy as xp

    config = tiny_config(d_ff=7)  # of 6, 8 and 7 inputs
    params, pattern = random_params(config), NofM(zeros=1, of=2)
    with pytest.raises(UsageError) as error:
        prune_params(xp, params, config, "wanda", pattern, TOKENS)
    assert "model.layers.0.mlp.down_proj.weight: pattern 1:2 needs rows" in str(error.value)
    assert "--skip down_proj" in str(error.value)
    found = prune_params(xp, params, config, "wanda", pattern, TOKENS, skip=["down_proj", "1"])
    for name, x in found.items():
        dense = "layers.0" not in name or "down_proj" in name or x.ndim == 1
        assert (x is params[name]) == dense, name


def test_it_tells_how_far_it_is_and_what_it_needs_no_more():
    import tinyllm_numpy as xp

    heard, gone, params = [], [], random_params(CONFIG)
    prune_params(xp, params, CONFIG, "wanda", HALF, TOKENS, report=heard.append, done=gone.append)
    assert heard == [f"pruning block {i} of 3" for i in (1, 2, 3)]
    assert [x is params[name] for block in gone for name, x in block.items()] == [True] * 21


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(bad):
    import tinyllm_numpy as xp

    params = random_params(CONFIG)
    name = "model.layers.1.mlp.up_proj.weight"
    params[name][0, 0] = bad
    for method in ("magnitude", "wanda"):
        with pytest.raises(CheckpointError, match=r"mlp\.up_proj.weight has weights that are not"):
            prune_params(xp, params, CONFIG, method, HALF, TOKENS)


def test_a_model_that_overflows_is_refused():
    import tinyllm_numpy as xp

    params = {name: x.astype(np.float32) for name, x in random_params(CONFIG).items()}
    name = "model.layers.0.mlp.up_proj.weight"
    params[name] = params[name] * np.float32(1e38)
    with np.errstate(all="ignore"), pytest.raises(CheckpointError, match="the model overflows"):
        prune_params(xp, params, CONFIG, "wanda", HALF, TOKENS)
