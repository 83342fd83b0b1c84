"""A trained model of GPT-2's kind that sorts three letters, block by block as its author ran it."""

import base64
import json

import numpy as np
import pytest

import tinyllm
from conftest import data
from tinyllm.models.config_json import read_config_json
from tinyllm.models.weights import check_params, load_params

STEPS = {  # what the file calls an activation: its name here
    "x": "embed_tokens",
    "ln1": "layers.0.input_layernorm",
    "q": "layers.0.self_attn.q",
    "k": "layers.0.self_attn.k",
    "v": "layers.0.self_attn.v",
    "attSm": "layers.0.self_attn.probs",
    "y": "layers.0.self_attn.heads",
    "yProj": "layers.0.self_attn",
    "attnResid": "layers.0.middle",
    "ln2": "layers.0.post_attention_layernorm",
    "fc": "layers.0.mlp.up",
    "gelu": "layers.0.mlp.hidden",
    "mlp": "layers.0.mlp",
    "mlpResid": "layers.0",
    "block1": "layers.1",
    "block2": "layers.2",
    "ln_f": "norm",
}


def arrays(name):
    path = data("models/gpt-nano-sort") / name
    entries = json.loads(path.read_text())
    sizes = entries.pop("config")
    return sizes, {
        key: np.frombuffer(base64.b64decode(entry["data"]), np.float32).reshape(entry["shape"])
        for key, entry in entries.items()
    }


@pytest.fixture(scope="module")
def nano():
    """The model, through the plan of GPT-2's files, whose matrices are transposed."""
    sizes, tensors = arrays("gpt-nano-sort-model.json")
    values = {
        "model_type": "gpt2", "n_positions": sizes["block_size"], "tie_word_embeddings": False,
        **{key: sizes[key] for key in ("n_layer", "n_head", "n_embd", "vocab_size")},
    }  # fmt: skip
    tensors = {k: x.T if k.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else x
               for k, x in tensors.items()}  # fmt: skip
    config = check_params(tensors, read_config_json(values, "nano"), where="nano")
    xp = tinyllm.backend.get_backend("numpy")
    params = load_params(xp, tensors, config, dtype="float32")
    return tinyllm.Model(config, params, xp=xp)


def test_every_activation_is_the_published_one(nano):
    _, expected = arrays("gpt-nano-sort-t0-partials.json")
    tokens = expected["idx"].astype(int)
    logits, seen = nano.trace(tokens, list(STEPS.values()))
    for theirs, ours in STEPS.items():
        size = max(1.0, float(np.abs(expected[theirs]).max()))
        assert np.abs(seen[ours] - expected[theirs]).max() <= 2e-6 * size, ours
    assert np.abs(logits - expected["lm_head"]).max() <= 2e-6 * np.abs(expected["lm_head"]).max()


def test_it_sorts(nano):
    rng = np.random.default_rng(0)
    for _ in range(20):
        letters = rng.integers(0, 3, 6).tolist()
        found = nano.generate(letters, max_tokens=6, temperature=0.0, context=12, ignore_eos=True)
        assert found.tokens[:5] == sorted(letters)[:5]
