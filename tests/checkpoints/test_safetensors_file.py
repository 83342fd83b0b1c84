"""read_tensors gives a correct answer or one CheckpointError; write_tensors is its inverse."""

import os
import socket
import time
import tracemalloc
from pathlib import Path

import hypothesis.extra.numpy as hnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save

from checkpoints.bad_safetensors import BAD
from checkpoints.safetensors_bytes import entry, file_bytes
from tinyllm.checkpoints.dtypes import DTYPES
from tinyllm.checkpoints.safetensors_file import read_tensors, release, write_tensors
from tinyllm.errors import CheckpointError


@pytest.mark.filterwarnings("ignore:fields")
@pytest.mark.parametrize(("content", "says"), BAD.values(), ids=BAD.keys())
def test_bad_files_are_refused_in_one_line(tmp_path, content, says):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    began = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert says in message
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < 600
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("name", BAD)
def test_what_the_library_refuses_is_refused_here_too(tmp_path, name):
    """The table is honest: where the library accepts one of its files, it is named here."""
    stricter = {
        "leading space", "same tensor twice", "metadata twice the same key", "4-bit floats",
        "6-bit floats", "shape of rank 70", "shape 0 x 2^62",
    }  # fmt: skip
    try:
        deserialize(BAD[name][0])
    except SafetensorError:
        assert name not in stricter
    else:
        assert name in stricter


GOOD = {
    "nothing": (file_bytes("{}"), {}),
    "trailing spaces": (file_bytes("{}      "), {}),
    "trailing newline": (file_bytes("{}\n"), {}),
    "metadata null": (file_bytes('{"__metadata__":null}'), {}),
    "metadata empty": (file_bytes('{"__metadata__":{}}'), {}),
    "rank 0": (file_bytes({"a": entry("I8", (), (0, 1))}, b"\xfe"), {"a": -2}),
    "empty axes": (file_bytes({"a": entry("F32", (2, 0, 3), (0, 0))}), {"a": np.zeros((2, 0, 3))}),
    "empty tensors at one place": (
        file_bytes(
            {"b": entry("U8", (0,), (1, 1)), "a": entry("U8", (1,), (0, 1)),
             "c": entry("U8", (0,), (1, 1)), "d": entry("U8", (0,), (0, 0))},
            b"\x07",
        ),
        {"b": np.zeros(0), "a": [7], "c": np.zeros(0), "d": np.zeros(0)},
    ),
    "any nonzero byte is true": (
        file_bytes({"a": entry("BOOL", (4,))}, b"\x00\x01\x02\xff"),
        {"a": [False, True, True, True]},
    ),
    "unaligned": (
        file_bytes(
            {"a": entry("U8", (1,), (0, 1)), "b": entry("I32", (1,), (1, 5))}, b"\1\2\0\0\0"
        ),
        {"a": [1], "b": [2]},
    ),
    "infinity and NaN": (
        file_bytes({"a": entry("F16", (2,))}, b"\x00\x7c\x00\x7e"),
        {"a": [np.inf, np.nan]},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "wanted"), GOOD.values(), ids=GOOD.keys())
def test_odd_but_valid_files_are_read(tmp_path, content, wanted):
    (tmp_path / "x").write_bytes(content)
    tensors = read_tensors(tmp_path / "x")
    assert list(tensors) == list(wanted)
    for name in wanted:
        np.testing.assert_array_equal(tensors[name], wanted[name], strict=False)
        assert tensors[name].shape == np.shape(wanted[name])
        if tensors[name].dtype == bool:  # also in memory, where a true of 2 is not that of 1
            assert set(tensors[name].tobytes()) <= {0, 1}


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "a\0b\nc", "\x1b[31mred", "", "é😀", "x" * 10**6, "__metadata_", "a b"],
    ids=lambda name: repr(name[:20]),
)
def test_any_text_is_a_name_and_never_a_path_or_an_escape(tmp_path, name):
    (tmp_path / "x").write_bytes(file_bytes({name: entry()}, bytes(4)))
    assert list(read_tensors(tmp_path / "x")) == [name]
    (tmp_path / "x").write_bytes(file_bytes({name: entry("F31")}, bytes(4)))
    with pytest.raises(CheckpointError) as caught:
        read_tensors(tmp_path / "x")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_an_unknown_field_is_noted(tmp_path):
    (tmp_path / "x").write_bytes(file_bytes({"a": entry(scale=2)}, bytes(4)))
    with pytest.warns(UserWarning, match="scale"):
        assert list(read_tensors(tmp_path / "x")) == ["a"]


def _fifo(path):
    os.mkfifo(path)


def _socket(path):
    os.chdir(path.parent)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def _unreadable(path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path.write_bytes(file_bytes("{}"))
    path.chmod(0)


KINDS = {
    "absent": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "FIFO": _fifo,
    "socket": _socket,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "unreadable": _unreadable,
}


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_only_regular_files_are_read_and_nothing_hangs(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"x: (cannot be opened|is not a regular file)"):
        read_tensors(tmp_path / "x")


def test_a_zero_byte_in_the_path_is_an_error_of_ours():
    with pytest.raises(CheckpointError, match="cannot be opened"):
        read_tensors("a\0b")


def test_a_line_break_in_the_path_stays_on_one_line(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_tensors(tmp_path / "a\nb")
    assert "\n" not in str(caught.value).split(": cannot")[0]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    import tinyllm.checkpoints.safetensors_file as module

    path = tmp_path / "x"

    def grow(*args):
        with open(path, "ab") as file:
            file.write(b"more")

    path.write_bytes(file_bytes({"a": entry()}, bytes(4)))
    monkeypatch.setattr(module, "_second_opinion", grow)
    with pytest.raises(CheckpointError, match="changed while"):
        read_tensors(path)
    monkeypatch.undo()
    path.write_bytes(file_bytes({"a": entry()}, bytes(4)))
    monkeypatch.setattr(module, "parse_header", lambda header: {})
    monkeypatch.setattr(module, "data_size", lambda entries: 4)
    with pytest.raises(CheckpointError, match="changed while"):
        read_tensors(path)
    monkeypatch.setattr(module, "_second_opinion", lambda *args: os.truncate(path, 0))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tensors(path)


def test_tensors_are_views_of_one_map(tmp_path):
    write_tensors(tmp_path / "x", {"a": np.zeros((1000, 1000)), "b": np.zeros(7, np.float16)})
    tracemalloc.start()
    tensors = read_tensors(tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6  # of 8 MB
    assert not any(tensor.flags.writeable for tensor in tensors.values())
    assert tensors["a"].base is tensors["b"].base


@pytest.mark.untraced
def test_bombs_are_bounded(tmp_path):
    (tmp_path / "over").write_bytes((2**24 + 1).to_bytes(8, "little") + b"{" + b" " * 2**24)
    began = time.perf_counter()
    with pytest.raises(CheckpointError, match="max_header"):
        read_tensors(tmp_path / "over")
    assert time.perf_counter() - began < 0.05  # 0.2 ms, with room for a busy machine

    many = {f"model.layers.{i}.weight": np.zeros(1, np.int8) for i in range(20_000)}
    write_tensors(tmp_path / "many", many)
    began = time.perf_counter()
    assert len(read_tensors(tmp_path / "many")) == 20_000
    assert time.perf_counter() - began < 3  # 0.2 s, with room

    with pytest.raises(CheckpointError, match="over 10 bytes"):
        read_tensors(tmp_path / "many", max_header=10)


def test_every_bfloat16_pattern_is_its_float32_with_sixteen_zeros(tmp_path):
    patterns = np.arange(2**16, dtype=np.uint16)
    (tmp_path / "x").write_bytes(
        file_bytes({"a": entry("BF16", (2**16,), (0, 2**17))}, patterns.tobytes())
    )
    read = read_tensors(tmp_path / "x")["a"]
    assert read.dtype == ml_dtypes.bfloat16
    with np.errstate(invalid="ignore"):
        up = read.astype(np.float32)
    wanted = (patterns.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(up, wanted)
    numbers = ~np.isnan(wanted)
    assert (up.view(np.uint32) == wanted.view(np.uint32))[numbers].all()
    write_tensors(tmp_path / "y", {"a": read})
    assert read_tensors(tmp_path / "y")["a"].tobytes() == patterns.tobytes()


arrays = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5).flatmap(
        lambda shape: hnp.arrays(np.uint8, (*shape, dtype.itemsize)).map(
            lambda raw: (raw % 2 if dtype.kind == "b" else raw).view(dtype).reshape(shape)
        )
    )
)
names = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda n: n != "__metadata__")


@pytest.mark.untraced
@given(tensors=st.dictionaries(names, arrays, max_size=4))
def test_saving_loading_and_saving_gives_the_same_bytes(tmp_path_factory, tensors):
    folder = tmp_path_factory.mktemp("round")
    write_tensors(folder / "a", tensors, {"format": "pt"})
    read = read_tensors(folder / "a")
    assert read.keys() == tensors.keys()
    for name in tensors:
        assert read[name].dtype == tensors[name].dtype
        assert read[name].shape == tensors[name].shape
        assert read[name].tobytes() == tensors[name].tobytes()
    write_tensors(folder / "b", read, {"format": "pt"})
    assert (folder / "b").read_bytes() == (folder / "a").read_bytes()


@pytest.mark.untraced
@given(tensors=st.dictionaries(names, arrays, max_size=6))
def test_the_bytes_are_those_of_the_safetensors_library(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("same") / "x"
    write_tensors(path, tensors, {"format": "pt"})
    assert path.read_bytes() == save(tensors, {"format": "pt"})


def test_any_memory_order_and_byte_order_is_written_as_its_values(tmp_path):
    x = np.arange(12, dtype=">f4").reshape(3, 4)
    tensors = {"big": x, "transposed": x.T, "strided": x[:, ::2], "reversed": x[::-1]}
    write_tensors(tmp_path / "x", tensors)
    read = read_tensors(tmp_path / "x")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor)
        assert read[name].dtype == np.dtype("<f4")


def test_metadata_is_written_in_sorted_order_and_read_by_the_library(tmp_path):
    metadata = {"z": "é", "format": "pt", "a": ""}
    for order in (metadata, dict(reversed(metadata.items()))):
        write_tensors(tmp_path / "x", {"a": np.zeros(1)}, order)
        content = (tmp_path / "x").read_bytes()
        assert content[8:].startswith('{"__metadata__":{"a":"","format":"pt","z":"é"}'.encode())
    with safe_open(tmp_path / "x", "np") as file:
        assert file.metadata() == metadata


@pytest.mark.parametrize(
    ("tensors", "metadata", "says"),
    [
        ({"__metadata__": np.zeros(1)}, None, "cannot be the name"),
        ({1: np.zeros(1), "a": np.zeros(1)}, None, "1 cannot be the name"),
        ({"\ud800": np.zeros(1)}, None, "cannot be the name"),
        ({"a": [1.0]}, None, "'a' is a list"),
        ({"a": np.zeros(1, object)}, None, "dtype object"),
        ({"a": np.zeros(1, np.complex128)}, None, "complex128"),
        ({"a": np.zeros(1, "U3")}, None, "<U3"),
        ({"a": np.zeros(1, ml_dtypes.int4)}, None, "int4"),
        ({}, {"a": 1}, "strings to strings"),
        ({}, {1: "a"}, "strings to strings"),
        ({}, {"a": "\udfff"}, "strings to strings"),
        ({"x" * 2**24: np.zeros(1)}, None, "header would take"),
    ],
)
def test_what_the_format_does_not_have_is_refused_before_writing(tmp_path, tensors, metadata, says):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(CheckpointError, match="x: ") as caught:
        write_tensors(tmp_path / "x", tensors, metadata)
    assert says in str(caught.value)
    assert (tmp_path / "x").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_released_tensor_is_read_again_when_it_is_used(tmp_path):
    wanted = {name: np.full(5000, value, np.float32) for value, name in enumerate("abc")}
    write_tensors(tmp_path / "x.safetensors", wanted)
    found = read_tensors(tmp_path / "x.safetensors")
    for _ in range(2):
        for name, tensor in found.items():
            np.testing.assert_array_equal(tensor, wanted[name])
            release(tensor)
    release(np.zeros(3))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux says what is in memory")
def test_the_memory_of_a_released_tensor_is_given_back(tmp_path):
    write_tensors(tmp_path / "released.safetensors", {"a": np.ones(2**20, np.float32)})
    (tensor,) = read_tensors(tmp_path / "released.safetensors").values()

    def resident():
        lines = Path("/proc/self/smaps").read_text().split("released.safetensors")[1].splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))

    assert tensor.sum() == 2**20
    before = resident()
    release(tensor)
    assert before >= 4096 > resident()
