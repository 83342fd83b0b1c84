"""Model folders: one file or shards; what is missing or foreign is said in one line."""

import json
import os

import ml_dtypes
import numpy as np
import pytest

from checkpoints.bad_folders import FOREIGN, INDEX, SHARD_NAMES, STRUCTURES, A, B
from checkpoints.safetensors_bytes import file_bytes
from tinyllm.checkpoints.folder import (
    read_config,
    read_generation_config,
    read_weights,
    write_checkpoint,
)
from tinyllm.checkpoints.safetensors_file import read_tensors, write_tensors
from tinyllm.errors import CheckpointError, ConfigError


def tensors():
    return {
        "model.embed.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "model.norm.weight": np.ones(4, ml_dtypes.bfloat16),
        "head.weight": np.full((5, 4), 7, np.float16),
    }


@pytest.fixture
def sharded(tmp_path):
    """A folder of two shards and a function that changes its index."""
    write_tensors(tmp_path / A, {"a": np.zeros(1), "b": np.zeros(2)})
    write_tensors(tmp_path / B, {"c": np.zeros(3)})

    def index(weight_map=None, **other):
        weight_map = {"a": A, "b": A, "c": B} if weight_map is None else weight_map
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map, **other}))
        return tmp_path

    return index


def refusal(folder):
    with pytest.raises(CheckpointError) as caught:
        read_weights(folder)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500
    return str(caught.value)


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(found[name], wanted[name])


@pytest.mark.parametrize("max_shard_bytes", [1, 60, 10**9], ids=["each alone", "two", "one"])
def test_a_folder_is_read_as_it_was_written(tmp_path, max_shard_bytes):
    config = {"vocab_size": 3, "model_type": "llama", "name": "é", "architectures": ["X"]}
    folder = tmp_path / "deep" / "er"
    write_checkpoint(folder, config, tensors(), {"eos_token_id": [1, 2]}, max_shard_bytes)
    assert_equal(read_weights(folder), tensors())
    assert read_config(folder) == config
    assert read_generation_config(folder) == {"eos_token_id": [1, 2]}
    files = len([name for name in os.listdir(folder) if name.endswith(".safetensors")])
    assert files == {1: 3, 60: 2, 10**9: 1}[max_shard_bytes]
    if files > 1:
        stated = json.loads((folder / INDEX).read_text())["metadata"]["total_size"]
        assert stated == sum(tensor.nbytes for tensor in tensors().values())


def test_the_config_says_first_what_the_model_is(tmp_path):
    write_checkpoint(tmp_path, {"z": 1, "model_type": "m", "a": [], "architectures": ["M"]}, {})
    assert list(read_config(tmp_path)) == ["architectures", "model_type", "a", "z"]
    assert (tmp_path / "config.json").read_text().startswith('{\n  "architectures"')
    assert read_weights(tmp_path) == {}


def test_an_absent_generation_config_is_empty(tmp_path):
    assert read_generation_config(tmp_path) == {}


@pytest.mark.parametrize("content", ["", "[]", '{"a": NaN}', '{"a": 1, "a": 1}', "{" * 10**5])
@pytest.mark.parametrize("read", [read_config, read_generation_config])
def test_a_bad_config_is_a_config_error(tmp_path, content, read):
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json: "):
        read(tmp_path)


def test_a_missing_config_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json: no such file"):
        read_config(tmp_path)


@pytest.mark.parametrize("value", [object(), float("nan"), "\ud800", {1: 2, "a": 3}.keys()])
def test_a_config_that_is_not_json_is_refused_before_anything_is_written(tmp_path, value):
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        write_checkpoint(tmp_path / "new", {"a": value}, tensors())
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        write_checkpoint(tmp_path / "new", {}, tensors(), {"a": value})
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper", "a\0b"):
        with pytest.raises(CheckpointError, match="cannot be written"):
            write_checkpoint(folder, {}, tensors())


@pytest.mark.parametrize(("first", "second"), [(1, 10**9), (10**9, 1), (1, 60)])
def test_old_weights_never_stay_beside_new_ones(tmp_path, first, second):
    (tmp_path / "model-card.safetensors").touch()
    write_checkpoint(tmp_path, {}, tensors(), max_shard_bytes=first)
    new = {name: tensor * 0 for name, tensor in tensors().items()}
    write_checkpoint(tmp_path, {}, new, max_shard_bytes=second)
    assert_equal(read_weights(tmp_path), new)
    assert (tmp_path / "model-card.safetensors").exists()


def test_a_model_may_be_written_over_itself(tmp_path):
    write_checkpoint(tmp_path, {}, tensors())
    write_checkpoint(tmp_path, {}, read_weights(tmp_path), max_shard_bytes=1)
    assert_equal(read_weights(tmp_path), tensors())


def test_of_a_single_file_and_an_index_the_single_file_is_read_with_a_warning(sharded):
    folder = sharded()
    write_tensors(folder / "model.safetensors", {"one": np.zeros(1)})
    with pytest.warns(UserWarning, match=r"model\.safetensors is read"):
        assert list(read_weights(folder)) == ["one"]


def test_a_shard_may_be_a_link(sharded):
    folder = sharded()
    (folder / "blobs").mkdir()
    (folder / A).rename(folder / "blobs" / "abc")
    (folder / A).symlink_to("blobs/abc")
    assert list(read_weights(folder)) == ["a", "b", "c"]


@pytest.mark.parametrize("shard", SHARD_NAMES.values(), ids=SHARD_NAMES.keys())
def test_only_plain_file_names_are_shards(sharded, shard):
    message = refusal(sharded({"a": shard}))
    assert "expected a name such as" in message


@pytest.mark.parametrize(
    "shard", [A, "a.safetensors", "Model_1.v2-x.safetensors", "control.safetensors"]
)
def test_plain_file_names_are_looked_for(sharded, shard):
    folder = sharded({"a": shard})
    (folder / A).rename(folder / "elsewhere")
    assert "1 of 1 files are missing" in refusal(folder)


@pytest.mark.parametrize(("text", "says"), STRUCTURES.values(), ids=STRUCTURES.keys())
def test_an_index_that_is_none_is_refused(tmp_path, text, says):
    (tmp_path / INDEX).write_text(text)
    assert says in refusal(tmp_path)


@pytest.mark.untraced
def test_a_large_index_takes_bounded_time(tmp_path):
    weight_map = {f"t{i}": f"{i % 20_000}.safetensors" for i in range(100_000)}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert "20000 of 20000 files are missing" in refusal(tmp_path)


def test_missing_shards_are_counted_and_listed(sharded):
    folder = sharded({"a": A, "b": "x.safetensors", "c": "y.safetensors"})
    says = "2 of 3 files are missing: x.safetensors, y.safetensors; the download is incomplete"
    assert says in refusal(folder)
    folder = sharded({str(i): f"{i}.safetensors" for i in range(9)})
    assert "9 of 9 files are missing: 0.safetensors" in refusal(folder)
    assert "4.safetensors, …;" in refusal(folder)


def test_a_tensor_absent_from_its_shard_is_named(sharded):
    folder = sharded({"a": A, "b": A, "c": B, "d": A})
    assert f"{A}: has no tensor 'd', which {INDEX} places there" in refusal(folder)


def test_a_tensor_that_the_index_does_not_name_is_named(sharded):
    folder = sharded({"a": A, "c": B})
    assert f"{A}: has tensor 'b'; {INDEX} does not name it" in refusal(folder)


def test_a_tensor_in_two_shards_is_named(sharded):
    folder = sharded()
    write_tensors(folder / B, {"c": np.zeros(3), "a": np.ones(1)})
    assert f"{B}: has tensor 'a'; {INDEX} places it in {A}" in refusal(folder)


def test_a_damaged_shard_is_named(sharded):
    folder = sharded()
    (folder / B).write_bytes((folder / B).read_bytes()[:-1])
    assert B in refusal(folder)
    assert "download is incomplete" in refusal(folder)


@pytest.mark.parametrize("metadata", [{"total_size": 48}, {}, [], None, {"total_size": None}])
def test_a_right_or_absent_total_size_is_fine(sharded, metadata):
    assert len(read_weights(sharded(metadata=metadata))) == 3


def test_a_wrong_total_size_is_noted(sharded):
    with pytest.warns(UserWarning, match="total_size is 49; the tensors have 48"):
        read_weights(sharded(metadata={"total_size": 49}))


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_named_with_what_to_do(tmp_path, name):
    content, says = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    assert says in refusal(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "x.bin")
    os.mkfifo(tmp_path / "y\n.bin")
    assert "has no model.safetensors" in refusal(tmp_path)


def test_what_is_no_folder_of_weights_says_so(tmp_path):
    assert "no such folder" in refusal(tmp_path / "absent")
    assert "is empty; expected model.safetensors or " in refusal(tmp_path)
    (tmp_path / "file").touch()
    assert "is a file; expected a model's folder" in refusal(tmp_path / "file")
    for i in range(6):
        (tmp_path / f"{i}.txt").touch()
    assert refusal(tmp_path).endswith("'4.txt', …")


def test_a_dangling_link_is_told_apart_from_nothing(tmp_path):
    (tmp_path / "model.safetensors").symlink_to("nowhere")
    assert "model.safetensors: cannot be opened" in refusal(tmp_path)


def test_an_unreadable_folder_is_an_error_of_ours(tmp_path, monkeypatch):
    def fail(path):
        raise PermissionError("denied")

    monkeypatch.setattr(os, "listdir", fail)
    assert "cannot be read: denied" in refusal(tmp_path)


def test_a_file_that_cannot_be_looked_into_is_named_by_its_suffix(tmp_path, monkeypatch):
    def fail(head, size):
        raise PermissionError("denied")

    (tmp_path / "x.gguf").touch()
    monkeypatch.setattr("tinyllm.checkpoints.folder.diagnose", fail)
    assert "'x.gguf' is a GGUF file" in refusal(tmp_path)


def test_transformers_finds_the_format_it_asks_for(tmp_path):
    write_checkpoint(tmp_path, {}, tensors())
    assert (
        (tmp_path / "model.safetensors")
        .read_bytes()[8:]
        .startswith(b'{"__metadata__":{"format":"pt"}')
    )
    assert_equal(read_tensors(tmp_path / "model.safetensors"), tensors())


def test_a_single_file_that_is_no_safetensors_says_what_it_is(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in refusal(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(file_bytes("{}", b"?"))
    assert "1 bytes after" in refusal(tmp_path)
