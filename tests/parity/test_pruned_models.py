"""Pruned models against transformers: masks, importances, linear maps, and what is saved."""

import numpy as np
import pytest

import tinyllm
from compression.test_pruning_golden import FILE, MODEL, pruned_here
from parity.families import random_tokens
from tinyllm.compression.llm_pruner import Choice, prune_groups
from tinyllm.compression.minitron import Target, cut_out, minitron
from tinyllm.compression.streaming import require_decoder
from tinyllm.models.decoder import decoder_forward
from tinyllm.params import nest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from parity.oracle import logits64, no_complaints, random_model  # noqa: E402
from parity.pruning_oracle import importances, linear_map, wanda_masks  # noqa: E402

pytestmark = pytest.mark.parity


def oracle_numbers():
    """All that the golden file holds, computed now."""
    tokens = random_tokens(batch=4)
    weight, bias = linear_map(random_model(MODEL, dtype=np.float32), tokens, 0)
    return {
        "tokens": tokens, "linear/weight": weight, "linear/bias": bias,
        **importances(random_model(MODEL, dtype=np.float32), tokens),
        **wanda_masks(random_model(MODEL, dtype=np.float32), tokens, 0.5),
    }  # fmt: skip


def test_the_golden_file_is_what_pytorch_says_and_so_do_we():
    fresh = oracle_numbers()
    ours = pruned_here(fresh["tokens"])
    with np.load(FILE) as file:
        assert set(file) == set(fresh)
        for name, x in fresh.items():
            np.testing.assert_allclose(file[name], x, rtol=1e-9, atol=1e-12, err_msg=name)
            if name != "tokens":
                np.testing.assert_allclose(ours[name], x, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("structure", ["block", "channel"])
def test_a_narrower_llama_is_one_for_transformers_too(tmp_path, structure):
    random_model(MODEL).save_pretrained(tmp_path / "dense")
    model = tinyllm.load(tmp_path / "dense", dtype="float64")
    tokens = random_tokens()
    dense = require_decoder(model.config)
    choice = Choice(sparsity=0.5, structure=structure, layers=range(dense.n_layers))
    if structure == "channel":
        choice = Choice(sparsity=0.5, structure=structure)  # transformers wants a multiple of heads
    _, params, config = prune_groups(model.xp, model.params, dense, choice, tokens)
    assert config.blocks is None
    tinyllm.Model(config, params, xp=model.xp).save(tmp_path / "pruned")
    with no_complaints():
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "pruned", dtype=torch.float64
        ).eval()
    ours, _ = decoder_forward(model.xp, tokens, nest(params), config)
    np.testing.assert_allclose(ours, logits64(theirs, tokens), atol=1e-6)


def test_what_minitron_leaves_is_a_llama_for_transformers_too(tmp_path):
    random_model(MODEL).save_pretrained(tmp_path / "dense")
    model = tinyllm.load(tmp_path / "dense", dtype="float64")
    dense, tokens = require_decoder(model.config), random_tokens()
    target = Target(ffn=dense.d_ff // 2, heads=dense.n_kv_heads, width=dense.d_model // 2, layers=1)
    cut = minitron(model.xp, model.params, dense, target, tokens, merge=True)
    params, config = cut_out(model.xp, model.params, dense, cut)
    assert (config.family, config.blocks, config.n_layers) == ("llama", None, 1)
    tinyllm.Model(config, params, xp=model.xp).save(tmp_path / "pruned")
    with no_complaints():
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "pruned", dtype=torch.float64
        ).eval()
    ours, _ = decoder_forward(model.xp, tokens, nest(params), config)
    np.testing.assert_allclose(ours, logits64(theirs, tokens), atol=1e-6)
