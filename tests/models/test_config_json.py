"""tinyllm.models.config_json, rope_json and key_reader: what configs say, and what they may not."""

import dataclasses
import math

import pytest
from hypothesis import given

from models.bad_configs import LLAMA, LLAMA3, REFUSED
from tiny import configs
from tinyllm.errors import ConfigError
from tinyllm.models.config_json import read_config_json, write_config_json
from tinyllm.models.rope import Rope

MISTRAL = LLAMA | {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
QWEN2 = LLAMA | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "sliding_window": 9,
    "use_sliding_window": True,
    "max_window_layers": 1,
}
QWEN3 = QWEN2 | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}


def read(changes=(), base=LLAMA):
    values = base | dict(changes)
    return read_config_json({k: v for k, v in values.items() if v is not ...}, "config.json")


def test_a_llama():
    config = read()
    assert (config.d_model, config.d_ff, config.n_layers) == (64, 96, 2)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (8, 2, 8)
    assert (config.max_seq_len, config.norm_eps, config.vocab_size) == (512, 1e-5, 100)
    assert (config.bos_id, config.eos_ids) == (1, (2,))
    assert config.positions == Rope(theta=10000.0)
    assert not any([config.qkv_bias, config.o_bias, config.mlp_bias, config.tie_embeddings])
    assert config.windows == (None, None)


def test_older_files_leave_out_what_was_not_yet_a_choice():
    config = read({"num_key_value_heads": ..., "architectures": ..., "hidden_act": ...})
    assert config.n_kv_heads == 8


def test_head_dim_is_free():
    assert read({"head_dim": 32}).head_dim == 32
    assert read({"head_dim": 6, "hidden_size": 63}).head_dim == 6
    assert read({"head_dim": None}).head_dim == 8


def test_biases_and_tying():
    config = read({"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True})
    assert config.qkv_bias
    assert config.o_bias
    assert config.mlp_bias
    assert config.tie_embeddings


@pytest.mark.parametrize(
    ("says", "window"), [({"sliding_window": 7}, 7), ({"sliding_window": None}, None), ({}, 4096)]
)
def test_the_window_of_a_mistral(says, window):
    assert read(says, MISTRAL).windows == (window, window)


@pytest.mark.parametrize("base", [QWEN2, QWEN3])
@pytest.mark.parametrize(
    ("says", "windows"),
    [
        ({}, (None, 9)),
        ({"use_sliding_window": False}, (None, None)),
        ({"use_sliding_window": ...}, (None, None)),
        ({"sliding_window": None}, (None, None)),
        ({"sliding_window": ...}, (None, 4096)),
        ({"max_window_layers": 0}, (9, 9)),
        ({"max_window_layers": 2}, (None, None)),
        ({"max_window_layers": ...}, (None, None)),
        ({"layer_types": ["sliding_attention", "full_attention"]}, (9, None)),
        ({"layer_types": ["full_attention"] * 2}, (None, None)),
    ],
)
def test_the_windows_of_a_qwen(base, says, windows):
    assert read(says, base).windows == windows


def test_the_biases_and_norms_of_a_qwen():
    two, three = read(base=QWEN2), read(base=QWEN3)
    assert (two.qkv_bias, two.o_bias, two.mlp_bias, two.qk_norm) == (True, False, False, False)
    assert (three.qkv_bias, three.o_bias, three.qk_norm) == (False, False, True)
    biased = read({"attention_bias": True}, QWEN3)
    assert (biased.qkv_bias, biased.o_bias) == (True, True)


def test_the_head_dim_of_a_qwen3_is_128_unless_the_file_says_another():
    assert read(base=QWEN3).head_dim == 128
    assert read({"head_dim": 16}, QWEN3).head_dim == 16
    assert read(base=QWEN2).head_dim == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_types": ["full_attention"]},
        {"layer_types": ["full_attention", "linear_attention"]},
        {"layer_types": ["full_attention", ["full_attention"]]},
        {"layer_types": "full_attention"},
        {"layer_types": ["full_attention", "sliding_attention"], "use_sliding_window": False},
    ],
)
def test_layers_of_a_qwen_that_cannot_be_are_refused(changes):
    with pytest.raises(ConfigError, match="expected full_attention"):
        read(changes, QWEN2)


@pytest.mark.parametrize(("eos", "ids"), [(2, (2,)), ([2, 5, 2], (2, 5)), (None, ()), (..., ())])
def test_every_way_to_write_eos(eos, ids):
    assert read({"eos_token_id": eos}).eos_ids == ids


class TestRopeSpellings:
    def test_the_base_in_every_place(self):
        for keys in [
            {"rope_theta": 5e5},
            {"rope_theta": 5e5, "rope_scaling": None},
            {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
            {"rope_theta": 5e5, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
            {"rope_theta": 500000, "rope_scaling": {"type": "default"}},
        ]:
            assert read(keys).positions == Rope(theta=5e5), keys

    @pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
    @pytest.mark.parametrize("kind_key", ["type", "rope_type"])
    def test_linear(self, key, kind_key):
        rope = read({"rope_theta": 100.0, key: {kind_key: "linear", "factor": 4}}).positions
        assert rope == Rope(theta=100.0, kind="linear", factor=4.0)

    def test_dynamic_takes_the_models_context_as_the_original_one(self):
        rope = read({"rope_scaling": {"type": "dynamic", "factor": 2.0}}).positions
        assert rope == Rope(theta=10000.0, kind="dynamic", factor=2.0, original_context=512)

    def test_llama3(self):
        rope = read({"rope_theta": 5e5, "rope_scaling": LLAMA3}).positions
        assert rope == Rope(
            theta=5e5, kind="llama3", factor=8.0, original_context=128,
            low_freq_factor=1.0, high_freq_factor=4.0,
        )  # fmt: skip
        assert read({"rope_parameters": LLAMA3 | {"rope_theta": 5e5}}).positions == rope
        assert (
            read({"rope_theta": 5e5, "rope_scaling": LLAMA3 | {"type": "llama3"}}).positions == rope
        )

    def test_yarn_with_its_defaults(self):
        yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
        rope = read({"rope_scaling": yarn}).positions
        assert rope.scale == pytest.approx(0.1 * math.log(4) + 1)
        assert (rope.beta_fast, rope.beta_slow, rope.truncate) == (32.0, 1.0, True)

    def test_yarn_without_its_context_takes_the_models_as_transformers_does(self):
        rope = read({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}).positions
        assert rope.original_context == 512

    def test_yarn_with_everything_set(self):
        yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
        more = {"beta_fast": 16, "beta_slow": 2, "truncate": False}
        assert (
            read({"rope_scaling": yarn | more | {"attention_factor": 1.5}}).positions.scale == 1.5
        )
        rope = read(
            {"rope_scaling": yarn | more | {"mscale": 0.7, "mscale_all_dim": 1.4}}
        ).positions
        expected = (0.07 * math.log(4) + 1) / (0.14 * math.log(4) + 1)
        assert rope.scale == pytest.approx(expected)
        assert (rope.beta_fast, rope.beta_slow, rope.truncate) == (16.0, 2.0, False)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    changes, says = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        read(changes)
    assert says in str(error.value)
    assert str(error.value).startswith("config.json")
    assert "\n" not in str(error.value)


ODD = [
    None, True, 0, -1, 1.5, 2**63, 10**400, 1e308, "", "llama", "a\nb", [], [[]],
    ["full_attention"], {}, {"rope_type": {}}, {"type": ["x"]},
    {"rope_type": "yarn", "factor": 10**400}, LLAMA3,
]  # fmt: skip
ANYWHERE = ["layer_types", "rope_scaling", "rope_parameters", "rope_theta", "head_dim", "a\nb"]


@pytest.mark.parametrize("base", [LLAMA, MISTRAL, QWEN2, QWEN3], ids=lambda b: b["model_type"])
def test_any_value_under_any_key_is_understood_or_refused_in_one_line(base):
    said = []
    for key in [*base, *ANYWHERE]:
        for value in ODD:
            try:
                read({key: value}, base)
            except ConfigError as error:
                said.append(str(error))
    assert len(said) > 100
    assert [line for line in said if not line.isprintable()] == []


def test_two_equal_spellings_are_fine():
    linear = {"type": "linear", "factor": 2.0}
    both = {"rope_scaling": linear, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}
    assert read(both).positions.kind == "linear"


def test_keys_that_turn_nothing_on_are_no_matter():
    read(
        {"new_trick": None, "another": False, "_name_or_path": "x", "empty": [], "use_cache": True}
    )


def test_layer_types_that_repeat_the_window_are_fine():
    assert read({"layer_types": ["full_attention"] * 2}).windows == (None, None)
    says = {"sliding_window": 9, "layer_types": ["sliding_attention"] * 2}
    assert read(says, MISTRAL).windows == (9, 9)


def of_a_family(config):
    """Take back what no family has together with the rest."""
    mixed = len(set(config.windows)) > 1
    pieces = (config.layout, config.norm, config.mlp)
    whole = isinstance(config.positions, Rope) and config.positions.fraction == 1.0
    if not whole or pieces != ("pre", "rmsnorm", "swiglu"):
        return dataclasses.replace(config, family="tinyllm")
    if config.qk_norm:
        return dataclasses.replace(config, family="qwen3", mlp_bias=False)
    if mixed:
        return dataclasses.replace(
            config, family="qwen2", qkv_bias=True, o_bias=False, mlp_bias=False
        )
    if config.windows[0] is not None:
        return dataclasses.replace(
            config, family="mistral", qkv_bias=False, o_bias=False, mlp_bias=False
        )
    return config


@given(configs)
def test_what_is_written_reads_back(config):
    config = of_a_family(config)
    if getattr(config.positions, "kind", None) == "dynamic":
        config = dataclasses.replace(config, max_seq_len=config.positions.original_context)
    for eos in [(), (2,), (2, 3)]:
        config = dataclasses.replace(config, bos_id=1, eos_ids=eos)
        assert read_config_json(write_config_json(config, "float32"), "config.json") == config


@given(configs)
def test_programs_without_layer_types_read_the_same_windows(config):
    config = of_a_family(config)
    written = write_config_json(config, "float32")
    written.pop("layer_types", None)
    in_order = sorted(config.windows, key=lambda window: window or 0)
    if list(config.windows) == in_order:  # they know windows of the last layers only
        assert read_config_json(written, "config.json").windows == config.windows


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3"])
def test_a_factor_that_would_overflow_is_refused(kind):
    scaling = LLAMA3 | {"rope_type": kind, "factor": 1e300}
    with pytest.raises(ConfigError, match="factor is 1e"):
        read({"rope_scaling": scaling})


@pytest.mark.parametrize("theta", [1.0, 1e300])
def test_a_base_that_turns_nothing_or_overflows_is_refused(theta):
    with pytest.raises(ConfigError, match="rope_theta is"):
        read({"rope_theta": theta})
