"""Masks, importances and linear maps against those that PyTorch found in float64: no torch here.

tools/make_golden.py made the file; the model is one of tests/golden.
"""

import json
from pathlib import Path

import numpy as np

import tinyllm_numpy as xp
from tinyllm.compression.depth import fit_maps_to_dense, replace_layers
from tinyllm.compression.groups import find_groups
from tinyllm.compression.masks import Unstructured
from tinyllm.compression.pruning import prune_params
from tinyllm.compression.streaming import require_decoder
from tinyllm.compression.taylor import group_importance, loss_slopes
from tinyllm.models.config_json import read_config_json
from tinyllm.models.weights import check_params, load_params
from tinyllm.params import nest

MODEL = "gqa"
FILE = Path(__file__).resolve().parents[1] / "oracles" / "pruning.npz"


def pruned_here(tokens):
    """The same numbers, by our own code."""
    with np.load(FILE.parents[1] / "golden" / f"{MODEL}.npz") as golden:
        tensors = {k.removeprefix("params/"): golden[k] for k in golden if k.startswith("params/")}
        read = read_config_json(json.loads(str(golden["config"])), "golden")
    config = require_decoder(check_params(tensors, read, where="golden"))
    params = load_params(xp, tensors, config, dtype="float64")
    half = prune_params(xp, params, config, "wanda", Unstructured(sparsity=0.5), tokens)
    found = {name: x == 0.0 for name, x in half.items() if "_proj" in name}
    slopes = loss_slopes(xp, params, config, tokens, fisher=True)
    for way in ("element1", "element2", "mix", "vector"):
        for part, module in {"attention": "self_attn", "mlp": "mlp"}.items():
            found[f"{part}/{way}"] = np.array(
                [
                    group_importance(xp, params, slopes, groups, way, "sum")
                    for groups in find_groups(config)
                    if groups.where.endswith(module)
                ]
            )
    maps = fit_maps_to_dense(xp, nest(params), config, tokens, [0])
    linear, _ = replace_layers(params, config, maps)
    for leaf in ("weight", "bias"):
        found[f"linear/{leaf}"] = linear[f"model.layers.0.linear.{leaf}"]
    return found


def test_masks_are_equal_and_numbers_close():
    with np.load(FILE) as file:
        expected = dict(file)
    found = pruned_here(expected.pop("tokens"))
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        if x.dtype == bool:
            assert np.array_equal(found[name], x), name
        else:
            np.testing.assert_allclose(found[name], x, rtol=1e-9, atol=1e-12, err_msg=name)
