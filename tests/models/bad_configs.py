"""Configs that are refused, by name: the change of a good one, and what the refusal says."""

import math

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
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}

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
