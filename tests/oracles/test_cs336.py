"""The operations against Stanford's CS336 (2024): modules of a small GPT, with weights and outputs.

The modules are composed here, from tinyllm.ops alone. The course's ran in float32 under PyTorch.
Its reference for training byte-pair encoding is here too.
Every file is used, or stands in DOES_NOT_APPLY with the reason.
"""

import json

import numpy as np
import pytest

import tinyllm_numpy
from conftest import data
from tinyllm.ops.activations import gelu_forward
from tinyllm.ops.attention import attention_forward, attention_mask
from tinyllm.ops.embedding import embedding_forward
from tinyllm.ops.linear import linear_forward
from tinyllm.ops.norms import rmsnorm_forward
from tinyllm.params import nest
from tinyllm.tokenizers import train_byte_level_bpe

DOES_NOT_APPLY = {  # a file: why
    "adamw_expected_params.npz": "an optimiser: tests/training/test_optimizers.py runs it",
}
CORPUS, MERGES, VOCAB = BPE_FILES = (
    "corpus.en", "train-bpe-reference-merges.txt", "train-bpe-reference-vocab.json",
)  # fmt: skip
EPS = 1e-5
N_HEADS = 2


def load(name):
    """Return the arrays of a file."""
    with np.load(data(f"oracles/cs336/{name}.npz")) as file:
        return dict(file)


def value(xp, name):
    """Return the one array of a file."""
    return xp.asarray(load(name)["value"])


def weights(xp, name):
    """Return the arrays of a file as the tree that their names spell."""
    return nest({key: xp.asarray(array) for key, array in load(f"{name}_weights").items()})


# The modules


def feed_forward(xp, x, w):
    h, _ = gelu_forward(xp, linear_forward(xp, x, w["w1"]["weight"])[0])
    return linear_forward(xp, h, w["w2"]["weight"])[0]


def causal_self_attention(xp, x, w, n_heads):
    B, T, _ = x.shape
    q, k, v = (
        xp.permute_dims(xp.reshape(y, (B, T, n_heads, -1)), (0, 2, 1, 3))
        for y, _ in (linear_forward(xp, x, w[f"{name}_proj"]["weight"]) for name in "qkv")
    )
    mask = attention_mask(xp, xp.arange(T), xp.arange(T))
    o, _ = attention_forward(xp, q, k, v, mask=mask)
    o = xp.reshape(xp.permute_dims(o, (0, 2, 1, 3)), (B, T, -1))
    return linear_forward(xp, o, w["output_proj"]["weight"])[0]


def block(xp, x, w):
    h, _ = rmsnorm_forward(xp, x, w["ln1"]["weight"], eps=EPS)
    x = x + causal_self_attention(xp, h, w["attn"], N_HEADS)
    h, _ = rmsnorm_forward(xp, x, w["ln2"]["weight"], eps=EPS)
    return x + feed_forward(xp, h, w["ffn"])


def language_model(xp, tokens, w):
    positions = xp.arange(tokens.shape[1])[None, :]
    x = embedding_forward(xp, tokens, w["token_embeddings"]["weight"])[0]
    x = x + embedding_forward(xp, positions, w["position_embeddings"]["weight"])[0]
    for layer in w["layers"].values():
        x = block(xp, x, layer)
    h, _ = rmsnorm_forward(xp, x, w["ln_final"]["weight"], eps=EPS)
    return linear_forward(xp, h, w["lm_head"]["weight"])[0]


# What each module must give


def rmsnorm(xp):
    return rmsnorm_forward(xp, value(xp, "in_features"), weights(xp, "rmsnorm")["weight"], eps=EPS)[
        0
    ]


def positionwise_feedforward(xp):
    return feed_forward(xp, value(xp, "in_features"), weights(xp, "positionwise_feedforward"))


def scaled_dot_product_attention(xp):
    q, k, v, hidden = (
        value(xp, f"scaled_dot_product_attention_{name}") for name in [*"QKV", "mask"]
    )
    return attention_forward(xp, q, k, v, mask=~hidden)[0]


def unbatched_multihead_self_attention(xp):
    w = weights(xp, "unbatched_multihead_self_attention")
    for name in "qkv":  # one weight for each head, in place of one below the other
        heads = w[f"{name}_heads"]
        joined = xp.concat([heads[str(h)]["weight"] for h in range(len(heads))], axis=0)
        w[f"{name}_proj"] = {"weight": joined}
    return causal_self_attention(xp, value(xp, "in_features"), w, len(w["q_heads"]))


def transformer_block(xp):
    return block(xp, value(xp, "in_features"), weights(xp, "transformer_block"))


def transformer_lm(xp):
    return language_model(xp, value(xp, "in_indices"), weights(xp, "transformer_lm"))


def transformer_lm_truncated(xp):
    return language_model(xp, value(xp, "in_indices_truncated"), weights(xp, "transformer_lm"))


MODULES = [
    rmsnorm,
    positionwise_feedforward,
    scaled_dot_product_attention,
    unbatched_multihead_self_attention,
    transformer_block,
    transformer_lm,
    transformer_lm_truncated,
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_module(xp, module):
    """Within 1e-6 of the largest output: both sides round in float32, and logits reach 117."""
    expected = load(f"{module.__name__}_expected_output")["value"]
    computed = xp.to_numpy(module(xp))
    assert computed.dtype == np.float32
    assert computed.shape == expected.shape
    np.testing.assert_allclose(computed, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_training_byte_pair_encoding():
    """Every merge and every id of the course's vocabulary of 500 tokens."""
    folder = data("oracles/cs336")
    tokenizer = train_byte_level_bpe([(folder / CORPUS).read_text()], 500)
    model = json.loads(tokenizer.export(tokenizer)["tokenizer.json"])["model"]
    merges = (folder / MERGES).read_text().splitlines()
    assert [" ".join(pair) for pair in model["merges"]] == merges
    assert len(merges) == 243
    assert model["vocab"] == json.loads((folder / VOCAB).read_text())


def test_every_file_is_used_or_has_a_reason_not_to(monkeypatch):
    folder = data("oracles/cs336")
    used = {f"{module.__name__}_expected_output.npz" for module in MODULES} | {*BPE_FILES}

    def recording(name, load=load):
        used.add(f"{name}.npz")
        return load(name)

    monkeypatch.setitem(globals(), "load", recording)
    for module in MODULES:
        module(tinyllm_numpy)
    assert not used & DOES_NOT_APPLY.keys()
    assert used | DOES_NOT_APPLY.keys() == {path.name for path in folder.iterdir()}
    assert all(reason.strip() for reason in DOES_NOT_APPLY.values())
