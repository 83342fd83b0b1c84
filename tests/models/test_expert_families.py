"""Mixtral and DeepSeek-V2: sizes of the published models, keys, caches; transformers not needed."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.published import PUBLISHED, published_config
from strategies import rngs
from tinyllm.errors import ConfigError
from tinyllm.inference.kv_cache import make_cache
from tinyllm.inference.session import Session
from tinyllm.models.architecture import architecture
from tinyllm.models.config_json import read_config_json, write_config_json
from tinyllm.models.cost import cache_bytes
from tinyllm.models.decoder import decoder_forward, head_forward
from tinyllm.models.description import describe_config
from tinyllm.models.examples import example_config, random_params
from tinyllm.models.latent import latent_layer
from tinyllm.models.packing import pack_params
from tinyllm.models.stack import hidden_states
from tinyllm.models.stored import stored_plan
from tinyllm.params import nest

MIXTRAL, DEEPSEEK = (
    PUBLISHED[name]["config"] for name in ("mistralai/Mixtral-8x7B-v0.1", "deepseek-ai/DeepSeek-V2")
)


def read(values, **changes):
    values = {k: v for k, v in (values | changes).items() if v is not ...}
    return read_config_json(values, "config.json")


KEPT = {  # numbers of a token
    "mistralai/Mixtral-8x7B-v0.1": 2 * 32 * 8 * 128,
    "deepseek-ai/DeepSeek-V2": 34_560,
}


@pytest.mark.parametrize("name", KEPT)
def test_published_models_cost_what_was_published(name):
    config, active, kept = published_config(name), PUBLISHED[name]["active"], KEPT[name]
    described = describe_config(config)
    assert described["active_parameters"] == active
    assert described["parameters"] == PUBLISHED[name]["parameters"]
    assert cache_bytes(config, 10, "float32") == 4 * 10 * kept
    embedding = config.vocab_size * config.d_model  # looked up, not multiplied; norms are no matrix
    itself = 2 * (active - embedding)
    assert 0 < itself - described["flops_per_token"]["itself"] < 1e-4 * itself
    json.dumps(described)


def test_scores_of_a_longer_context_are_sharper_by_the_square_of_yarn_s_scale():
    bare = 192**-0.5
    sharper = bare * (0.0707 * math.log(40) + 1) ** 2
    unscaled = {"rope_scaling": {"type": "linear", "factor": 2.0}}
    for changes, scale in (({}, sharper), (unscaled, bare), ({"rope_scaling": ...}, bare)):
        layer = latent_layer(read(DEEPSEEK, **changes))
        np.testing.assert_allclose(layer.forward.keywords["scale"], scale, rtol=1e-14)


def test_latent_attention_s_arithmetic_is_that_of_its_cache():
    _, per_key = architecture(read(DEEPSEEK)).flops(read(DEEPSEEK))
    assert per_key == 2 * 60 * 128 * (512 + 64 + 512)


def test_names_in_files_are_those_of_the_hub():
    config = example_config("mixtral")
    kind = architecture(config)
    plan = stored_plan(list(kind.param_shapes(config)), kind.names(config))
    start, within = "model.layers.1.block_sparse_moe", "model.layers.1.mlp"
    assert plan[f"{start}.gate.weight"].names == (f"{within}.gate.weight",)
    for name, side in {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}.items():
        held = plan[f"{start}.experts.2.{name}.weight"].names
        assert held == (f"{within}.experts.2.{side}.weight",)
    config = example_config("deepseek_v2")
    kind = architecture(config)
    plan = stored_plan(list(kind.param_shapes(config)), kind.names(config))
    assert all(stored.names == (name,) for name, stored in plan.items())
    assert "model.layers.0.mlp.up_proj.weight" in plan
    assert "model.layers.1.mlp.shared_experts.up_proj.weight" in plan
    assert "model.layers.1.mlp.experts.3.down_proj.weight" in plan
    assert "model.layers.1.self_attn.kv_a_proj_with_mqa.weight" in plan


MEANS = [  # what a key means: values, changes, what of the config
    (MIXTRAL, {"sliding_window": 9}, lambda c: c.windows, (9,) * 32),
    (MIXTRAL, {"rope_theta": ...}, lambda c: c.positions.theta, 1e6),
    (DEEPSEEK, {"rope_theta": ...}, lambda c: c.positions.theta, 1e4),
    (MIXTRAL, {"sliding_window": ...}, lambda c: c.windows, (None,) * 32),
    (MIXTRAL, {}, lambda c: (c.experts.routing.renormalise, c.experts.d_ff), (True, 14336)),
    (MIXTRAL, {"num_experts_per_tok": 8}, lambda c: c.experts.routing.k, 8),
    (DEEPSEEK, {}, lambda c: (c.experts.routing.renormalise, c.experts.routing.scale), (False, 16)),
    (DEEPSEEK, {}, lambda c: (c.experts.routing.groups, c.experts.routing.groups_kept), (8, 3)),
    (DEEPSEEK, {"topk_method": "greedy"}, lambda c: c.experts.routing.groups, 1),
    (DEEPSEEK, {"topk_method": ..., "n_group": None}, lambda c: c.experts.routing.groups, 1),
    (DEEPSEEK, {"q_lora_rank": None}, lambda c: c.latent.q_rank, None),
    (DEEPSEEK, {"q_lora_rank": ...}, lambda c: c.latent.q_rank, 1536),
    (DEEPSEEK, {"first_k_dense_replace": 60}, lambda c: c.experts.first, 60),
    (DEEPSEEK, {}, lambda c: (c.latent.mscale, c.positions.scale), (0.707, 1.0)),
    (DEEPSEEK, {"head_dim": 64, "qk_head_dim": 192}, lambda c: c.head_dim, 64),
]


@pytest.mark.parametrize(("values", "changes", "of", "expected"), MEANS)
def test_what_a_key_means(values, changes, of, expected):
    config = read(values, **changes)
    assert of(config) == expected
    assert read(write_config_json(config, "float32")) == config


REFUSED = [
    (MIXTRAL, {"num_experts_per_tok": 9}, "num_experts_per_tok is 9; expected a whole number"),
    (MIXTRAL, {"num_local_experts": 0}, "num_local_experts is 0"),
    (MIXTRAL, {"num_local_experts": ...}, "num_local_experts is missing"),
    (MIXTRAL, {"n_shared_experts": 2}, "does not know n_shared_experts = 2"),
    (DEEPSEEK, {"n_group": 7}, "n_group is 7; expected a divisor of 160 experts"),
    (DEEPSEEK, {"n_group": None}, "n_group is None; expected a divisor"),
    (DEEPSEEK, {"topk_group": 9}, "topk_group is 9; expected at most 8 groups"),
    (DEEPSEEK, {"topk_group": 1, "num_experts_per_tok": 21}, "num_experts_per_tok is 21"),
    (DEEPSEEK, {"topk_method": "noaux_tc"}, "topk_method is 'noaux_tc'; tinyllm knows 'greedy'"),
    (DEEPSEEK, {"scoring_func": "sigmoid"}, "scoring_func is 'sigmoid'"),
    (DEEPSEEK, {"norm_topk_prob": True}, "norm_topk_prob is True"),
    (DEEPSEEK, {"moe_layer_freq": 2}, "moe_layer_freq is 2"),
    (DEEPSEEK, {"attention_bias": True}, "attention_bias is True"),
    (DEEPSEEK, {"num_key_value_heads": 64}, "num_key_value_heads is 64"),
    (DEEPSEEK, {"head_dim": 128}, "head_dim is 128"),
    (DEEPSEEK, {"qk_rope_head_dim": 63}, "head_dim is 63; RoPE turns"),
    (DEEPSEEK, {"first_k_dense_replace": 61}, "first_k_dense_replace is 61"),
    (DEEPSEEK, {"kv_lora_rank": ...}, "kv_lora_rank is missing"),
]


@pytest.mark.parametrize(("values", "changes", "says"), REFUSED)
def test_refused(values, changes, says):
    with pytest.raises(ConfigError) as error:
        read(values, **changes)
    assert says in str(error.value)
    assert str(error.value).startswith("config.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [MIXTRAL, DEEPSEEK])
def test_any_value_under_any_key_is_understood_or_refused_in_one_line(values):
    odd = [None, True, 0, -1, 1.5, 2**63, 10**400, "", "a\nb", [], [[]], {}, {"a": [1]}]
    said = []
    for key in [*values, "rope_parameters"]:
        for value in odd:
            try:
                read(values, **{key: value})
            except ConfigError as error:
                said.append(str(error))
    assert len(said) > 80
    assert [line for line in said if not line.isprintable()] == []


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v2"])
def test_a_file_that_cannot_say_it_is_not_written(name):
    config = example_config(name)
    routing = dataclasses.replace(config.experts.routing, capacity=1.0)
    limited = dataclasses.replace(config.experts, routing=routing)
    for changes in ({"experts": limited}, {"experts": None}, {"mlp": "geglu"}):
        with pytest.raises(ConfigError):
            write_config_json(dataclasses.replace(config, **changes), "float32")


MODELS = ["mixtral", "deepseek_v2", "deepseek_v2-groups"]


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=6)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.booleans(), rngs)
def test_cached_is_full_for_any_chunks_packed_or_not(xp, name, chunks, packed, rng):
    config, T = example_config(name), sum(chunks)
    p = nest({k: xp.asarray(v) for k, v in random_params(config, rng).items()})
    tokens = rng.integers(0, config.vocab_size, (2, T))
    full = xp.to_numpy(decoder_forward(xp, xp.asarray(tokens), p, config)[0])
    p = pack_params(xp, p) if packed else p
    kv = make_cache(xp, config, batch=2, capacity=T, dtype=xp.float64)
    parts, start = [], 0
    for n in chunks:
        piece = xp.asarray(tokens[:, start : start + n])
        hidden = hidden_states(xp, piece, p, config, kv=kv)
        parts.append(xp.to_numpy(head_forward(xp, hidden, p)[0]))
        start += n
    cached = np.concatenate(parts, axis=1)
    assert np.abs(cached - full).max() <= 1e-12 * max(1.0, np.abs(full).max())
    held = sum(x.size for x in kv.keys + kv.values)
    assert held == 2 * architecture(config).kept_numbers(config, T)


@pytest.mark.parametrize("chunks", [[6], [1] * 6, [2, 4]], ids=str)
def test_a_capacity_drops_tokens_in_training_and_none_where_a_text_is_read(xp, chunks):
    dropless, rng = example_config("tinyllm-experts"), np.random.default_rng(0)
    routing = dataclasses.replace(dropless.experts.routing, capacity=0.5)
    config = dataclasses.replace(
        dropless, experts=dataclasses.replace(dropless.experts, routing=routing)
    )
    p = nest({k: xp.asarray(v) for k, v in random_params(config, rng).items()})
    tokens = rng.integers(0, config.vocab_size, (1, 6))
    all_kept, dropped = (
        xp.to_numpy(decoder_forward(xp, xp.asarray(tokens), p, each)[0])
        for each in (dropless, config)
    )
    assert np.abs(all_kept - dropped).max() > 1e-3
    kv = make_cache(xp, config, batch=1, capacity=6, dtype=xp.float64)
    parts = [
        hidden_states(xp, xp.asarray(piece), p, config, kv=kv)
        for piece in np.split(tokens, np.cumsum(chunks)[:-1], axis=1)
    ]
    read = np.concatenate([xp.to_numpy(head_forward(xp, x, p)[0]) for x in parts], axis=1)
    np.testing.assert_allclose(read, all_kept, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_a_batch_are_what_they_are_alone(xp, name):
    config, rng = example_config(name), np.random.default_rng(0)
    p = nest({k: xp.asarray(v) for k, v in random_params(config, rng).items()})
    rows = [[1, 2, 3, 4, 5], [6, 7]]
    together = Session(xp, p, config, rows, max_tokens=2)
    found = [together.prefill(), together.step([8, 9])]
    for i, row in enumerate(rows):
        alone = Session(xp, p, config, [row], max_tokens=2)
        expected = [alone.prefill(), alone.step([8 + i])]
        for both, one in zip(found, expected):
            np.testing.assert_allclose(both[i], one[0], atol=1e-11)


def test_the_weights_of_a_latent_may_be_stored_narrower(xp):
    config, rng = example_config("deepseek_v2"), np.random.default_rng(0)
    params = random_params(config, rng)
    name = "model.layers.1.self_attn.kv_b_proj.weight"
    params[name] = params[name].astype(np.float32)
    tokens = xp.asarray(rng.integers(0, config.vocab_size, (1, 4)))

    def last(params):
        p = nest({k: xp.asarray(v) for k, v in params.items()})
        kv = make_cache(xp, config, batch=1, capacity=4, dtype=xp.float64)
        return xp.to_numpy(hidden_states(xp, tokens, p, config, kv=kv))

    wide = last(params | {name: params[name].astype(np.float64)})
    assert np.array_equal(last(params), wide)
