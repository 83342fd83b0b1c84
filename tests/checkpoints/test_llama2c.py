"""llama2.c files: the real ones bit for bit, the false ones refused by name."""

import os
import struct
import time

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given

from checkpoints.llama_files import assert_same, llama, llamas
from conftest import data
from tinyllm.checkpoints import read_config, read_llama2c, read_weights, write_llama2c
from tinyllm.errors import CheckpointError, ConfigError, TinyllmError


def test_stories260k_is_its_hugging_face_folder_bit_for_bit():
    folder = data("models/stories260K")
    config, tensors = read_llama2c(folder / "stories260K.bin")
    assert config == read_config(folder)
    assert_same(tensors, read_weights(folder))


def test_stories260k_is_written_as_the_original_file(tmp_path):
    folder = data("models/stories260K")
    config = read_config(folder)
    write_llama2c(tmp_path / "x.bin", config, read_weights(folder))
    original = (folder / "stories260K.bin").read_bytes()
    written = (tmp_path / "x.bin").read_bytes()
    tables = 4 * 512 * 8  # bytes: cosines and sines of 512 positions, 4 pairs each
    assert len(written) == len(original)
    assert written[:-tables] == original[:-tables]
    found, wanted = (np.frombuffer(b[-tables:], "<f4") for b in (written, original))
    np.testing.assert_allclose(found, wanted, atol=5e-6)  # theirs are made in float32


def test_llama2xs_is_read_and_written_back(tmp_path):
    path = data("models/llama2xs/model.bin")
    config, tensors = read_llama2c(path)
    assert config["intermediate_size"] == 192
    assert config["max_position_embeddings"] == 256
    assert len(tensors) == 2 + 5 * 9
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    write_llama2c(tmp_path / "x.bin", config, tensors)
    tables = 4 * 256 * 8
    assert (tmp_path / "x.bin").read_bytes()[:-tables] == path.read_bytes()[:-tables]


@given(model=llamas())
def test_there_and_back_is_the_identity(tmp_path_factory, model):
    config, tensors = model
    path = tmp_path_factory.mktemp("llama2c") / "x.bin"
    write_llama2c(path, config, tensors)
    found_config, found = read_llama2c(path)
    assert_same(found, tensors)
    assert found_config == config | {"bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}
    first = path.read_bytes()
    write_llama2c(path, found_config, found)
    assert path.read_bytes() == first


def test_the_weights_are_read_only_views(tmp_path):
    write_llama2c(tmp_path / "x.bin", *llama())
    _, tensors = read_llama2c(tmp_path / "x.bin")
    up, norm = tensors["model.layers.0.mlp.up_proj.weight"], tensors["model.norm.weight"]
    assert up.base is norm.base
    assert not up.flags.writeable


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_other_floats_are_written_as_float32(tmp_path, dtype):
    config, tensors = llama()
    narrow = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
    write_llama2c(tmp_path / "x.bin", config, narrow)
    wanted = {name: tensor.astype(np.float32) for name, tensor in narrow.items()}
    assert_same(read_llama2c(tmp_path / "x.bin")[1], wanted)


def test_a_head_equal_to_the_embedding_may_be_tied(tmp_path):
    config, tensors = llama()
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    write_llama2c(tmp_path / "x.bin", config, tensors)
    assert "lm_head.weight" not in read_llama2c(tmp_path / "x.bin")[1]
    tensors["lm_head.weight"][0, 0] += 1
    with pytest.raises(CheckpointError, match="differs from the embedding"):
        write_llama2c(tmp_path / "x.bin", config, tensors)


def header(dim=8, hidden=6, layers=2, heads=2, kv=1, vocab=7, length=5):
    return struct.pack("<7i", dim, hidden, layers, heads, kv, vocab, length)


MOST = 2**31 - 1
BAD = {
    "empty": (b"", "is empty"),
    "one byte": (b"x", "too few"),
    "27 bytes": (header()[:-1], "too few"),
    "header alone": (header(), "have 28"),
    "version 1": (struct.pack("<Ii", 0x616B3432, 1) + bytes(300), "version 1"),
    "version 2": (struct.pack("<Ii", 0x616B3432, 2) + bytes(300), "version 2"),
    "version of another": (struct.pack("<Ii", 0x616B3432, -7) + bytes(300), "version -7"),
    "zeros": (bytes(1000), "zero bytes"),
    "dim 0": (header(dim=0), "not a llama2.c file"),
    "dim negative": (header(dim=-8), "not a llama2.c file"),
    "hidden 0": (header(hidden=0), "not a llama2.c file"),
    "no layers": (header(layers=0), "not a llama2.c file"),
    "no heads": (header(heads=0), "not a llama2.c file"),
    "no kv heads": (header(kv=0), "not a llama2.c file"),
    "no vocabulary": (header(vocab=0), "not a llama2.c file"),
    "no length": (header(length=0), "not a llama2.c file"),
    "heads do not divide": (header(heads=3, kv=1), "not a llama2.c file"),
    "kv heads do not divide": (header(heads=4, kv=3), "not a llama2.c file"),
    "odd head_dim": (header(dim=6), "not a llama2.c file"),
    "all largest": (header(MOST - 1, MOST, MOST, 1, 1, -(2**31), MOST), "have 28"),
    "2^31 layers": (header(layers=2**31 - 1), "expected"),
    "big-endian": (struct.pack(">7i", 8, 6, 2, 2, 1, 7, 5) + bytes(3000), "have 3028"),
    "pickle": (b"PK\x03\x04" + bytes(100), "PyTorch pickle"),
    "web page": (b"<!DOCTYPE html><html lang='en'>", "web page"),
    "Git-LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "GGUF": (b"GGUF\3\0\0\0" + bytes(100), "GGUF"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "says"), BAD.values(), ids=BAD.keys())
def test_bad_files_are_refused_in_one_line(tmp_path, content, says):
    (tmp_path / "x.bin").write_bytes(content)
    began = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        read_llama2c(tmp_path / "x.bin")
    assert says in str(caught.value)
    assert str(caught.value).isprintable()
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("change", [-1, 1, -4 * 5 * 4])
def test_the_size_must_be_exact_rope_tables_included(tmp_path, change):
    write_llama2c(tmp_path / "x.bin", *llama())
    content = (tmp_path / "x.bin").read_bytes()
    changed = content[:change] if change < 0 else content + bytes(change)
    (tmp_path / "x.bin").write_bytes(changed)
    with pytest.raises(CheckpointError, match=f"expected {len(content)} bytes .* {len(changed)}:"):
        read_llama2c(tmp_path / "x.bin")


def test_random_headers_are_refused_or_read(tmp_path):
    write_llama2c(tmp_path / "x.bin", *llama())
    content = (tmp_path / "x.bin").read_bytes()
    rng = np.random.default_rng(0)
    odd = [0, 1, 2, 3, 4, 5, 8, -1, -7, 2**31 - 1, -(2**31), 64]
    for _ in range(500):
        numbers = list(struct.unpack("<7i", content[:28]))
        for place in rng.integers(0, 7, rng.integers(1, 4)):
            numbers[place] = int(rng.choice(odd))
        (tmp_path / "x.bin").write_bytes(struct.pack("<7i", *numbers) + content[28:])
        try:
            _, tensors = read_llama2c(tmp_path / "x.bin")
        except CheckpointError:
            continue
        assert sum(tensor.size for tensor in tensors.values()) <= len(content) // 4


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_llama2c(tmp_path / "x.bin")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    import tinyllm.checkpoints.llama2c as module

    write_llama2c(tmp_path / "x.bin", *llama())
    read_header = module.read_header

    def grow(*args):
        with open(tmp_path / "x.bin", "ab") as file:
            file.write(b"more")
        return read_header(*args)

    monkeypatch.setattr(module, "read_header", grow)
    with pytest.raises(CheckpointError, match="changed while"):
        read_llama2c(tmp_path / "x.bin")


CANNOT_HOLD = {
    "another family": ({"model_type": "gpt2"}, "model_type = 'gpt2'"),
    "another activation": ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    "partial RoPE": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
    "another base": ({"rope_theta": 500000.0}, "rope_theta = 500000.0"),
    "another base, new spelling": (
        {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
        "rope_theta = 1000000.0",
    ),
    "scaled RoPE": ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
    "another epsilon": ({"rms_norm_eps": 1e-6}, "rms_norm_eps = 1e-06"),
    "no epsilon": ({"rms_norm_eps": None}, "rms_norm_eps is missing"),
    "biases": ({"attention_bias": True}, "attention_bias = True"),
    "biases of the MLP": ({"mlp_bias": True}, "mlp_bias = True"),
    "a window": ({"model_type": "mistral", "sliding_window": 9}, "sliding_window = 9"),
    "Mistral's own window": ({"model_type": "mistral"}, "sliding_window = 4096"),
    "a window of text": ({"model_type": "mistral", "sliding_window": "x"}, "sliding_window is 'x'"),
    "another beginning": ({"bos_token_id": 128000}, "bos_token_id = 128000"),
    "several ends": ({"eos_token_id": [2, 3]}, "eos_token_id = [2, 3]"),
    "a free head_dim": ({"head_dim": 6}, "head_dim = 6"),
    "a size of zero": ({"hidden_size": 0}, "hidden_size is 0"),
    "a size of text": ({"vocab_size": "7"}, "vocab_size is '7'"),
    "a size of 2^31": ({"vocab_size": 2**31}, "vocab_size is 2147483648"),
    "a size of true": ({"num_hidden_layers": True}, "num_hidden_layers is True"),
    "no size": ({"intermediate_size": None}, "intermediate_size is missing"),
    "kv heads that do not divide": ({"num_key_value_heads": 3}, "num_key_value_heads is 3"),
    "a base of text": ({"rope_theta": "1e4"}, "rope_theta is '1e4'"),
    "two bases": ({"rope_parameters": {"rope_theta": 5.0}}, "rope_theta is 5.0 in one place"),
    "RoPE that is no object": ({"rope_scaling": [1]}, "rope_scaling is [1]; expected an object"),
}


@pytest.mark.parametrize(("change", "says"), CANNOT_HOLD.values(), ids=CANNOT_HOLD.keys())
def test_what_the_format_cannot_hold_is_refused_by_name(tmp_path, change, says):
    config, tensors = llama()
    with pytest.raises(ConfigError) as caught:
        write_llama2c(tmp_path / "x.bin", config | change, tensors)
    assert says in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("change", [
    {"rope_scaling": None}, {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    {"rope_scaling": {"type": "default"}}, {"model_type": "mistral", "sliding_window": None},
])  # fmt: skip
def test_other_spellings_of_the_same_are_written(tmp_path, change):
    config, tensors = llama()
    write_llama2c(tmp_path / "x.bin", config | change, tensors)
    assert_same(read_llama2c(tmp_path / "x.bin")[1], tensors)


def test_tensors_that_are_not_the_configs_are_listed(tmp_path):
    config, tensors = llama()
    del tensors["model.norm.weight"]
    tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(8, np.float32)
    with pytest.raises(TinyllmError) as caught:
        write_llama2c(tmp_path / "x.bin", config, tensors)
    assert "1 missing: 'model.norm.weight'" in str(caught.value)
    assert "1 unexpected: 'model.layers.0.self_attn.q_proj.bias'" in str(caught.value)
    assert os.listdir(tmp_path) == []
