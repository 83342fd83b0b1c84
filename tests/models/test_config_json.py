"""tinyllm.models.config_json, rope_json and key_reader: what configs say, and what they may not."""

import dataclasses
import math

import pytest
from hypothesis import given

from tiny import configs
from tinyllm.errors import ConfigError
from tinyllm.models.config_json import read_config_json, write_config_json
from tinyllm.models.rope import Rope

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MISTRAL = LLAMA | {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
QWEN2 = LLAMA | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "sliding_window": 9,
    "use_sliding_window": True,
    "max_window_layers": 1,
}
QWEN3 = QWEN2 | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}


def read(changes=(), base=LLAMA):
    values = base | dict(changes)
    return read_config_json({k: v for k, v in values.items() if v is not ...}, "config.json")


def test_a_llama():
    config = read()
    assert (config.d_model, config.d_ff, config.n_layers) == (64, 96, 2)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (8, 2, 8)
    assert (config.max_seq_len, config.norm_eps, config.vocab_size) == (512, 1e-5, 100)
    assert (config.bos_id, config.eos_ids) == (1, (2,))
    assert config.rope == Rope(theta=10000.0)
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
            assert read(keys).rope == Rope(theta=5e5), keys

    @pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
    @pytest.mark.parametrize("kind_key", ["type", "rope_type"])
    def test_linear(self, key, kind_key):
        rope = read({"rope_theta": 100.0, key: {kind_key: "linear", "factor": 4}}).rope
        assert rope == Rope(theta=100.0, kind="linear", factor=4.0)

    def test_dynamic_takes_the_models_context_as_the_original_one(self):
        rope = read({"rope_scaling": {"type": "dynamic", "factor": 2.0}}).rope
        assert rope == Rope(theta=10000.0, kind="dynamic", factor=2.0, original_context=512)

    def test_llama3(self):
        rope = read({"rope_theta": 5e5, "rope_scaling": LLAMA3}).rope
        assert rope == Rope(
            theta=5e5, kind="llama3", factor=8.0, original_context=128,
            low_freq_factor=1.0, high_freq_factor=4.0,
        )  # fmt: skip
        assert read({"rope_parameters": LLAMA3 | {"rope_theta": 5e5}}).rope == rope
        assert read({"rope_theta": 5e5, "rope_scaling": LLAMA3 | {"type": "llama3"}}).rope == rope

    def test_yarn_with_its_defaults(self):
        yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
        rope = read({"rope_scaling": yarn}).rope
        assert rope.scale == pytest.approx(0.1 * math.log(4) + 1)
        assert (rope.beta_fast, rope.beta_slow, rope.truncate) == (32.0, 1.0, True)

    def test_yarn_without_its_context_takes_the_models_as_transformers_does(self):
        rope = read({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}).rope
        assert rope.original_context == 512

    def test_yarn_with_everything_set(self):
        yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
        more = {"beta_fast": 16, "beta_slow": 2, "truncate": False}
        assert read({"rope_scaling": yarn | more | {"attention_factor": 1.5}}).rope.scale == 1.5
        rope = read({"rope_scaling": yarn | more | {"mscale": 0.7, "mscale_all_dim": 1.4}}).rope
        expected = (0.07 * math.log(4) + 1) / (0.14 * math.log(4) + 1)
        assert rope.scale == pytest.approx(expected)
        assert (rope.beta_fast, rope.beta_slow, rope.truncate) == (16.0, 2.0, False)


REFUSED = {
    "an unknown family": ({"model_type": "gpt7"}, "model_type is 'gpt7'"),
    "another class": ({"architectures": ["LlamaForTokenClassification"]}, "architectures"),
    "no layers": ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    "negative layers": ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
    "a billion layers": ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
    "layers as a float": ({"num_hidden_layers": 2.0}, "num_hidden_layers is 2.0"),
    "layers as text": ({"num_hidden_layers": "32"}, "num_hidden_layers is '32'"),
    "layers as a truth": ({"num_hidden_layers": True}, "num_hidden_layers is True"),
    "layers missing": ({"num_hidden_layers": ...}, "num_hidden_layers is missing"),
    "a width that heads do not divide": ({"hidden_size": 63}, "hidden_size is 63"),
    "key heads that do not divide heads": ({"num_key_value_heads": 3}, "num_key_value_heads is 3"),
    "more key heads than heads": ({"num_key_value_heads": 16}, "num_key_value_heads is 16"),
    "an odd head_dim": ({"head_dim": 7}, "head_dim is 7"),
    "an empty vocabulary": ({"vocab_size": 0}, "vocab_size is 0"),
    "a vast vocabulary": ({"vocab_size": 2**40}, "vocab_size"),
    "no context": ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
    "no epsilon": ({"rms_norm_eps": ...}, "rms_norm_eps is missing"),
    "an epsilon of zero": ({"rms_norm_eps": 0}, "rms_norm_eps is 0"),
    "an unknown activation": ({"hidden_act": "swish7"}, "hidden_act is 'swish7'"),
    "code of its own": ({"auto_map": {"AutoModel": "x.py"}}, "auto_map"),
    "quantised weights": ({"quantization_config": {"bits": 4}}, "quantised"),
    "an unknown key": ({"new_trick": 3}, "does not know new_trick = 3"),
    "interleaved rope": ({"rope_interleaved": True}, "rope_interleaved"),
    "partial rope": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    "an unknown key in two lines": ({"a\nb": 3}, "does not know 'a\\nb' = 3"),
    "a window where the family has none": ({"sliding_window": 5}, "sliding_window"),
    "layers of two kinds": ({"layer_types": ["full_attention", "linear"]}, "layer_types"),
    "a negative eos": ({"eos_token_id": -1}, "eos_token_id is -1"),
    "an eos beyond the vocabulary": ({"eos_token_id": [2, 100]}, "eos_token_id"),
    "an eos in words": ({"eos_token_id": "</s>"}, "eos_token_id"),
    "a bos beyond the vocabulary": ({"bos_token_id": 100}, "bos_token_id is 100"),
    "biases in words": ({"attention_bias": "yes"}, "attention_bias is 'yes'"),
    "theta zero": ({"rope_theta": 0}, "rope_theta is 0"),
    "theta negative": ({"rope_theta": -1.0}, "rope_theta is -1.0"),
    "theta NaN": ({"rope_theta": math.nan}, "rope_theta is nan"),
    "theta in words": ({"rope_theta": "1e6"}, "rope_theta is '1e6'"),
    "theta in a list": ({"rope_theta": [1e6]}, "rope_theta"),
    "an unknown rope": ({"rope_scaling": {"rope_type": "nope"}}, "rope_type is 'nope'"),
    "an unknown old rope": ({"rope_scaling": {"type": "longrope"}}, "type is 'longrope'"),
    "rope in words": ({"rope_scaling": "linear"}, "rope_scaling is 'linear'"),
    "a factor below one": ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "factor is 0.5"),
    "no factor": ({"rope_scaling": {"type": "linear"}}, "factor is missing"),
    "a misspelt key": (
        {"rope_scaling": LLAMA3 | {"low_frequency_factor": 1.0}}, "low_frequency_factor"),
    "llama3 without its context": (
        {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": None}},
        "original_max_position_embeddings is missing"),
    "llama3 that divides by zero": (
        {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, "low_freq_factor is 4.0"),
    "yarn upside down": (
        {"rope_scaling": {"type": "yarn", "factor": 2.0, "beta_fast": 0.5,
                          "original_max_position_embeddings": 64}}, "beta_fast is 0.5"),
    "two kinds": ({"rope_scaling": {"type": "linear", "rope_type": "yarn"}}, "differ"),
    "two bases": (
        {"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        "10000.0 in one place and 500000.0 in another"),
    "two spellings that differ": (
        {"rope_scaling": {"type": "linear", "factor": 2.0},
         "rope_parameters": {"rope_type": "linear", "factor": 4.0}}, "differ"),
    "two spellings of different kinds": (
        {"rope_scaling": {"type": "linear", "factor": 2.0},
         "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "differ"),
    "two spellings of which one says more": (
        {"rope_scaling": {"type": "linear", "factor": 2.0, "odd": 1},
         "rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "differ"),
    "two spellings with two bases": (
        {"rope_theta": None,
         "rope_scaling": {"type": "linear", "factor": 2.0, "rope_theta": 5e5},
         "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        "10000.0 in one place and 500000.0 in another"),
    "partial rope within": (
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}},
        "partial_rotary_factor is 0.5"),
}  # fmt: skip


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
    assert read(both).rope.kind == "linear"


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
    if config.rope.kind == "dynamic":
        config = dataclasses.replace(config, max_seq_len=config.rope.original_context)
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
