"""tinyllm.models.block: models whose blocks are not all alike."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm
import tinyllm_numpy
from inference.test_kv_cache import full, in_chunks
from models.bad_configs import LLAMA
from tiny import tiny_config, tree_of
from tinyllm.errors import ConfigError
from tinyllm.inference.kv_cache import KVCache, make_cache
from tinyllm.info import rows
from tinyllm.model import Model
from tinyllm.models.block import Block, blocks_of, config_of_block, with_blocks
from tinyllm.models.config import param_shapes
from tinyllm.models.config_json import read_config_json, write_config_json
from tinyllm.models.cost import cache_bytes
from tinyllm.models.decoder import decoder_backward, decoder_forward
from tinyllm.models.decoder_facts import decoder_flops, kv_numbers
from tinyllm.models.description import describe_config
from tinyllm.models.examples import example_config, random_params
from tinyllm.models.packing import pack_params
from tinyllm.params import nest

CONFIG = example_config("tinyllm-blocks")
TOKENS = np.random.default_rng(1).integers(0, CONFIG.vocab_size, (2, 9))


def drawn(config=CONFIG):
    return random_params(config, np.random.default_rng(0))


whole = st.builds(
    lambda kv, group, d_ff: Block(layout="pre", n_heads=kv * group, n_kv_heads=kv, d_ff=d_ff),
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 9),
)  # fmt: skip
partial = st.sampled_from(
    [
        Block(layout="linear"),
        Block(layout="mlp_only", d_ff=5),
        Block(layout="attention_only", n_heads=2, n_kv_heads=1),
    ]
)
some_blocks = st.lists(whole | partial, min_size=1, max_size=4)


@given(some_blocks)
def test_a_file_tells_each_block(blocks):
    config = tiny_config(family="tinyllm", n_layers=len(blocks))
    config = with_blocks(config, blocks)
    written = json.loads(json.dumps(write_config_json(config, "float32")))
    assert read_config_json(written, "config.json") == config
    assert blocks_of(config) == blocks
    assert (config.blocks is None) == (len(set(blocks)) == 1 and blocks[0].layout == "pre")


@given(some_blocks, st.integers(1, 9), st.lists(st.integers(1, 8), max_size=3))
def test_any_chunking_equals_one_forward(xp, blocks, T, cuts):
    config = with_blocks(tiny_config(n_layers=len(blocks)), blocks)
    p, tokens = tree_of(xp, drawn(config)), TOKENS[:, :T]
    expected, borders = full(xp, p, config, tokens), sorted({cut for cut in cuts if cut < T})
    for kind in (KVCache, make_cache):
        kv = kind(xp, config, batch=2, capacity=T, dtype=xp.float64)
        found = in_chunks(xp, p, config, tokens, borders, kv)
        np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())


def test_gradients_have_the_shapes_of_the_parameters(xp):
    p = tree_of(xp, drawn())
    logits, saved = decoder_forward(xp, xp.asarray(TOKENS), p, CONFIG)
    _, grads = decoder_backward(xp, logits, saved)
    assert {name: g.shape for name, g in grads.items()} == param_shapes(CONFIG)


def test_blocks_that_are_alike_are_not_listed_and_compute_the_same(xp):
    config = tiny_config()
    listed = replace(config, blocks=tuple(blocks_of(config)))
    assert with_blocks(config, blocks_of(config)) == config
    assert param_shapes(listed) == param_shapes(config)
    p = tree_of(xp, drawn(config))
    np.testing.assert_array_equal(full(xp, p, listed, TOKENS), full(xp, p, config, TOKENS))


@pytest.mark.parametrize(
    ("layout", "silent"), [("mlp_only", "o_proj.weight"), ("attention_only", "down_proj.weight")]
)
def test_half_a_block_is_a_block_whose_other_half_adds_nothing(xp, layout, silent):
    config = tiny_config()
    left = Block(
        layout=layout, **({"d_ff": 7} if layout == "mlp_only" else {"n_heads": 4, "n_kv_heads": 2})
    )
    halved = with_blocks(config, [left, blocks_of(config)[1]])
    params = drawn(config)
    for name in params:
        if name.startswith("model.layers.0.") and name.endswith(silent):
            params[name] = np.zeros_like(params[name])
    expected = full(xp, tree_of(xp, params), config, TOKENS)
    params = {name: params[name] for name in param_shapes(halved)}
    np.testing.assert_allclose(full(xp, tree_of(xp, params), halved, TOKENS), expected, atol=1e-12)


def test_a_saved_model_loads_and_continues_a_text_with_a_cache_as_without(tmp_path):
    params = {name: x.astype(np.float32) for name, x in drawn().items()}
    Model(CONFIG, params, xp=tinyllm_numpy).save(tmp_path / "m")
    model = tinyllm.load(tmp_path / "m", dtype="float64")
    assert model.config == CONFIG
    options = {"max_tokens": 6, "temperature": 0.0, "ignore_eos": True}
    found = model.generate([1, 2], **options)
    assert found.tokens == model.generate([1, 2], **options, use_cache=False).tokens
    names = [f"layers.{i}" for i in range(5)]
    _, activations = model.trace(TOKENS, [*names, "layers.2.input"])
    linear = {k: x.astype(np.float64) for k, x in params.items() if "layers.2" in k}
    expected = (
        activations["layers.2.input"] @ linear["model.layers.2.linear.weight"].T
        + linear["model.layers.2.linear.bias"]
    )
    np.testing.assert_allclose(activations["layers.2"], expected, atol=1e-12)


def test_packed_parameters_compute_the_same():
    p, xp = nest(drawn()), tinyllm_numpy
    found = full(xp, pack_params(xp, p), CONFIG, TOKENS)
    np.testing.assert_allclose(found, full(xp, p, CONFIG, TOKENS), atol=1e-12)


def test_what_a_text_costs_is_the_sum_over_the_blocks():
    of_blocks = [kv_numbers(replace(config_of_block(CONFIG, i), n_layers=1, windows=(None,)), 10)
                 for i in range(5)]  # fmt: skip
    assert of_blocks == [0, 2 * 10 * 2 * 8, 0, 2 * 10 * 1 * 8, 2 * 10 * 2 * 8]
    assert kv_numbers(CONFIG, 10) == sum(of_blocks)
    assert cache_bytes(CONFIG, 10, "float32") == 4 * sum(of_blocks)
    assert decoder_flops(CONFIG)[1] == 4 * 8 * (4 + 3 + 2)


def test_info_tells_of_each_kind_of_block():
    described = {**describe_config(CONFIG), "path": "m", "format": "f", "problems": []}
    lines = dict(rows(described))
    assert lines["block 0"] == "mlp_only, d_ff 5"
    assert lines["block 1"] == "pre, 4 and 2 heads, d_ff 3"
    assert lines["block 2"] == "linear"
    assert lines["block 4"] == "attention_only, 2 and 2 heads"


OWN = LLAMA | {"architectures": None, "model_type": "tinyllm", "positions": "rope"}
BAD = {
    "not a list": ({"blocks": {}}, "blocks is {}; expected an object for each of 2 layers"),
    "too few": ({"blocks": [{}]}, "expected an object for each of 2 layers"),
    "no object": ({"blocks": [{}, 3]}, "blocks[1] is 3; expected an object"),
    "layout": ({"blocks": [{}, {"layout": "post"}]}, "layout is 'post'; tinyllm knows 'pre', "),
    "half of post": ({"layout": "post", "blocks": [{}, {"layout": "mlp_only"}]}, "layout is"),
    "heads": ({"blocks": [{}, {"n_heads": 3, "n_kv_heads": 2}]}, "a divisor of 3 heads"),
    "no heads": ({"blocks": [{"n_heads": 0}, {}]}, "n_heads is 0; expected a whole number from 1"),
    "d_ff": ({"blocks": [{"d_ff": 2.0}, {}]}, "d_ff is 2.0"),
    "size of what is not": ({"blocks": [{"layout": "linear", "d_ff": 2}, {}]}, "not know d_ff"),
    "unknown key": ({"blocks": [{"width": 2}, {}]}, "blocks[0]: tinyllm does not know width"),
    "alibi": ({"positions": "alibi", "blocks": [{"n_heads": 1, "n_kv_heads": 1}, {}]}, "ALiBi"),
    "latent": (
        {"latent": {"kv_rank": 5, "nope_dim": 3, "v_dim": 2}, "blocks": [{}, {}]}, "cannot have it"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_blocks_that_cannot_be_are_refused(case):
    changes, line = BAD[case]
    with pytest.raises(ConfigError) as error:
        read_config_json(OWN | changes, "config.json")
    assert line in str(error.value)


def test_a_llama_file_cannot_hold_them():
    with pytest.raises(ConfigError, match="cannot hold this model's blocks; one of family 'tiny"):
        write_config_json(replace(CONFIG, family="llama"), "float32")
