"""Meta's and Mistral's folders are translated without loss, or refused by name."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints.llama_files import assert_same, llama, llamas
from tinyllm.checkpoints import read_meta, write_meta, write_tensors
from tinyllm.checkpoints.llama_config import LLAMA3_SCALING
from tinyllm.checkpoints.llama_names import hf_to_meta
from tinyllm.checkpoints.meta_params import _hidden_dim
from tinyllm.errors import CheckpointError, ConfigError
from tinyllm.key_reader import KeyReader

PARAMS = {"dim": 8, "n_layers": 1, "n_heads": 2, "norm_eps": 1e-5, "vocab_size": 7, "hidden_dim": 6}


def meta_folder(folder, params, tensors=None, file="consolidated.safetensors"):
    """Write a folder by hand; by default with the weights that fit PARAMS."""
    (folder / "params.json").write_text(json.dumps(params))
    if tensors is None:
        tensors = hf_to_meta(llama(layers=1, kv=2)[1], 2, 2, "x")
    write_tensors(folder / file, tensors)
    return folder


def refusal(folder, kind):
    with pytest.raises(kind) as caught:
        read_meta(folder)
    assert str(caught.value).isprintable()
    return str(caught.value)


@given(
    model=llamas(derived=False),
    dtype=st.sampled_from([np.float64, np.float32, np.float16, ml_dtypes.bfloat16]),
)
def test_there_and_back_is_the_identity(tmp_path_factory, model, dtype):
    config, tensors = model
    tensors = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
    folder = tmp_path_factory.mktemp("meta") / "new"
    write_meta(folder, config, tensors)
    found_config, found = read_meta(folder)
    assert found_config == config
    assert_same(found, tensors)


@pytest.mark.parametrize("window", [None, 9])
def test_mistral_stays_mistral(tmp_path, window):
    config, tensors = llama(tied=False)
    config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    config |= {"sliding_window": window, "rope_theta": 1e6}
    for key in ("attention_bias", "mlp_bias"):
        del config[key]
    write_meta(tmp_path, config, tensors)
    found_config, found = read_meta(tmp_path)
    assert found_config == config
    assert_same(found, tensors)


def test_biases_are_kept_and_those_of_q_and_k_reordered(tmp_path):
    config, tensors = llama()
    for name in list(tensors):
        if ".self_attn." in name:
            tensors[name.replace("weight", "bias")] = tensors[name][:, 0].copy()
    write_meta(tmp_path, config, tensors)
    found_config, found = read_meta(tmp_path)
    assert found_config == config | {"attention_bias": True}
    assert_same(found, tensors)


def test_llama_3_1_is_scaled_and_said_to_be(tmp_path):
    config, tensors = llama()
    config |= {"rope_theta": 500000.0, "rope_scaling": LLAMA3_SCALING}
    write_meta(tmp_path, config, tensors)
    with pytest.warns(UserWarning, match="factor of 8"):
        assert read_meta(tmp_path)[0] == config


def test_what_params_json_leaves_out_has_metas_defaults(tmp_path):
    config, tensors = read_meta(meta_folder(tmp_path, PARAMS))
    assert config["num_key_value_heads"] == 2
    assert config["rope_theta"] == 10000.0
    assert config["max_position_embeddings"] == 2048
    assert "head_dim" not in config
    assert_same(tensors, llama(layers=1, kv=2)[1])


def test_the_first_llamas_leave_the_vocabulary_to_the_tensor(tmp_path):
    folder = meta_folder(tmp_path, PARAMS | {"vocab_size": -1})
    assert read_meta(folder)[0]["vocab_size"] == 7


@pytest.mark.parametrize(
    ("dim", "params", "wanted"),
    [
        (4096, {"multiple_of": 256}, 11008),  # 7B
        (5120, {"multiple_of": 256}, 13824),  # 13B
        (8192, {"multiple_of": 256}, 22016),  # 65B
        (8192, {"multiple_of": 4096, "ffn_dim_multiplier": 1.3}, 28672),  # Llama-2 70B
        (4096, {"multiple_of": 1024, "ffn_dim_multiplier": 1.3}, 14336),  # Llama-3 8B
        (2048, {"multiple_of": 256, "ffn_dim_multiplier": 1.5}, 8192),  # Llama-3.2 1B
        (4096, {}, 11008),
        (4096, {"hidden_dim": 14336, "multiple_of": 7}, 14336),  # Mistral 7B
    ],
)
def test_the_width_of_the_mlp_is_that_of_the_published_models(dim, params, wanted):
    assert _hidden_dim(KeyReader(params | {"dim": dim}, "params.json")) == wanted


@pytest.mark.parametrize("file", ["consolidated.safetensors", "consolidated.00.safetensors"])
def test_a_single_part_is_read_under_either_name(tmp_path, file):
    _, tensors = read_meta(meta_folder(tmp_path, PARAMS, file=file))
    assert_same(tensors, llama(layers=1, kv=2)[1])


def test_shards_with_an_index_are_read(tmp_path):
    meta_folder(tmp_path, PARAMS, file="a.safetensors")
    names = hf_to_meta(llama(layers=1, kv=2)[1], 2, 2, "x")
    index = {"weight_map": dict.fromkeys(names, "a.safetensors")}
    (tmp_path / "consolidated.safetensors.index.json").write_text(json.dumps(index))
    assert_same(read_meta(tmp_path)[1], llama(layers=1, kv=2)[1])


def test_model_parallel_parts_are_refused(tmp_path):
    for i in range(2):
        meta_folder(tmp_path, PARAMS, file=f"consolidated.0{i}.safetensors")
    message = refusal(tmp_path, CheckpointError)
    assert "consolidated.01.safetensors: is one of 2 model-parallel parts" in message


def test_pickles_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    assert "no consolidated.safetensors" in refusal(tmp_path, CheckpointError)
    (tmp_path / "consolidated.00.pth").write_bytes(b"PK\x03\x04")
    message = refusal(tmp_path, CheckpointError)
    assert "consolidated.00.pth: is a PyTorch pickle" in message
    assert "save_file(torch.load(FILE, weights_only=True)" in message


BAD_PARAMS = {
    "a key that is not known": ({"moe": {"num_experts": 8}}, "'moe' is not known"),
    "quantised": ({"quantization_args": {}}, "'quantization_args' is not known"),
    "no dim": ({"dim": None}, "dim is missing"),
    "dim of text": ({"dim": "8"}, "dim is '8'"),
    "dim negative": ({"dim": -8}, "dim is -8"),
    "no layers": ({"n_layers": 0}, "n_layers is 0"),
    "a fraction of a layer": ({"n_layers": 1.5}, "n_layers is 1.5"),
    "an odd head_dim": ({"dim": 6}, "head_dim is 3; RoPE turns pairs of features"),
    "more heads than features": ({"n_heads": 9}, "dim is 8; expected a multiple of 9 heads"),
    "kv heads do not divide": ({"n_kv_heads": 3}, "n_kv_heads is 3; expected a divisor of 2 heads"),
    "vocabulary of 0": ({"vocab_size": 0}, "vocab_size is 0"),
    "epsilon of 0": ({"norm_eps": 0}, "norm_eps is 0"),
    "no epsilon": ({"norm_eps": None}, "norm_eps is missing"),
    "base of text": ({"rope_theta": "1e6"}, "rope_theta is '1e6'"),
    "multiplier negative": ({"hidden_dim": None, "ffn_dim_multiplier": -1}, "ffn_dim_multiplier"),
    "multiple of 0": ({"hidden_dim": None, "multiple_of": 0}, "multiple_of is 0"),
    "window of text": ({"sliding_window": "all"}, "sliding_window is 'all'"),
    "scaled maybe": ({"use_scaled_rope": "yes"}, "use_scaled_rope is 'yes'"),
    "scaled 1": ({"use_scaled_rope": 1}, "use_scaled_rope is 1"),
    "an escape": ({"\x1b[31m": 1}, "'\\x1b[31m'"),
}


@pytest.mark.parametrize(("change", "says"), BAD_PARAMS.values(), ids=BAD_PARAMS.keys())
def test_bad_params_are_refused_by_name(tmp_path, change, says):
    assert says in refusal(meta_folder(tmp_path, PARAMS | change), ConfigError)


@pytest.mark.parametrize("embedding", [None, np.zeros((), np.float32)])
def test_a_vocabulary_left_to_no_tensor_is_refused(tmp_path, embedding):
    tensors = {} if embedding is None else {"tok_embeddings.weight": embedding}
    folder = meta_folder(tmp_path, PARAMS | {"vocab_size": -1}, tensors)
    assert "vocab_size is -1" in refusal(folder, ConfigError)


@pytest.mark.parametrize("text", ["", "[]", '{"dim": NaN}', '{"dim": 8, "dim": 8}'])
def test_params_that_are_not_json_are_refused(tmp_path, text):
    (tmp_path / "params.json").write_text(text)
    assert "params.json: " in refusal(tmp_path, ConfigError)


def test_a_tensor_that_is_not_llamas_is_refused(tmp_path):
    folder = meta_folder(tmp_path, PARAMS, {"vision.weight": np.zeros(1)})
    assert "'vision.weight' is none of Llama's" in refusal(folder, CheckpointError)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "qwen2"}, "model_type = 'qwen2'"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling"),
        ({"rope_scaling": LLAMA3_SCALING | {"factor": 32.0}}, "'factor': 32.0"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps is 0.0"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_what_params_json_cannot_say_is_refused_before_writing(tmp_path, change, says):
    config, tensors = llama()
    with pytest.raises(ConfigError) as caught:
        write_meta(tmp_path / "new", config | change, tensors)
    assert says in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_meta(tmp_path / "file", *llama())
