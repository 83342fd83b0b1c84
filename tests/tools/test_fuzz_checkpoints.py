"""tools/fuzz_checkpoints.py finds nothing in the reader, and finds what is planted."""

import json

import numpy as np
import pytest
from safetensors import deserialize
from safetensors.numpy import save

from tinyllm.checkpoints import safetensors_file, safetensors_header
from tinyllm.checkpoints.dtypes import DTYPES
from tinyllm.errors import CheckpointError
from tools.fuzz_checkpoints import differs, fuzz, general, main

pytestmark = pytest.mark.untraced


def test_no_mutated_file_is_read_wrongly(capsys):
    assert main(["--files", "1200", "--seed", "1"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:]]
    counts = {what: int(count) for count, what in lines}
    assert counts["accepted by both"] > 300  # the fuzz meets both sides,
    assert counts["refused by both"] > 500
    assert counts["its header has the key … twice"] > 10  # and what the library lets pass


def naive(path):
    """A reader as one writes it in an hour."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(content[begin:end], DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def test_a_naive_reader_is_found_out():
    verdicts, _, broken = fuzz(range(300), 0, naive)
    assert verdicts["wrong accept"] > 5
    assert verdicts["foreign exception"] > 50
    assert broken.keys() == {"wrong accept", "foreign exception"}


def test_a_missing_rule_is_found_out(monkeypatch, capsys):
    """Here that of overlaps; the library's second opinion hides it from a user, not from us."""
    monkeypatch.setattr(safetensors_header, "_check_places", lambda entries: None)
    assert "rule missing" in fuzz(range(200), 0)[2]
    monkeypatch.setattr(safetensors_file, "_second_opinion", lambda path, entries: None)
    assert main(["--files=200"]) == 1
    assert "the library refuses it\n  b'" in capsys.readouterr().out


TENSOR = {"a": np.array([[1.0, 2.0]], np.float32)}


@pytest.mark.parametrize(
    ("tensors", "difference"),
    [
        (TENSOR, ""),
        ({}, "names differ"),
        ({"b": TENSOR["a"]}, "names differ"),
        ({"a": TENSOR["a"][0]}, "shapes or dtypes differ"),
        ({"a": TENSOR["a"].view(np.int32)}, "shapes or dtypes differ"),
        ({"a": TENSOR["a"] * -1}, "values differ"),
    ],
)
def test_other_names_shapes_dtypes_and_values_are_found_out(tensors, difference):
    assert differs(tensors, dict(deserialize(save(TENSOR)))) == difference


def test_an_exception_of_another_kind_and_a_long_story_are_found_out():
    def fail(path):
        raise KeyError("F31")

    def chatter(path):
        raise CheckpointError(f"{path}: one\ntwo")

    assert fuzz(range(3), 0, fail)[2]["foreign exception"][1] == "KeyError: 'F31'"
    assert fuzz(range(3), 0, chatter)[0] == {"unclear message": 3}


def test_reasons_are_counted_without_names_and_numbers():
    reason = "its tensor 'a' has shape [1, 2]; expected up to 64 sizes"
    assert general(reason) == "its tensor … has shape …; expected up to n sizes"
