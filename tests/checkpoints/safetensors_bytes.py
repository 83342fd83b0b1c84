"""Safetensors files made by hand, good and bad, for the tests."""

import copy
import json
import random

import numpy as np

from tinyllm.checkpoints.dtypes import DTYPES


def file_bytes(header, data=b"", length=None):
    """A file with this header (text, bytes or JSON values), data, and declared header length."""
    if not isinstance(header, str | bytes):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    length = len(header) if length is None else length
    return length.to_bytes(8, "little") + header + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **extra):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **extra}


def random_file(rng):
    """A valid file: its header as JSON values, and its data."""
    header, data = {}, b""
    for i in range(rng.randrange(4)):
        code = rng.choice(list(DTYPES))
        shape = [rng.randrange(4) for _ in range(rng.randrange(4))]
        size = int(np.prod(shape, dtype=int)) * DTYPES[code].itemsize
        header[f"t{i}"] = entry(code, shape, (len(data), len(data) + size))
        data += rng.randbytes(size)
    if rng.random() < 0.3:
        header["__metadata__"] = {"format": "pt"}
    return header, data


ODD_VALUES = [
    0, 1, -1, 2, 3, 4, 7, 8, 2**31, 2**32, 2**53, 2**62, 2**63, 2**64, 10**30, 1.0, 1.5, 1e300,
    True, False, None, "", "F32", "F16", "BOOL", "F4", "x", [], [0], [1, 1], [0, 4], {}, {"a": "b"},
    {"dtype": "U8", "shape": [], "data_offsets": [0, 1]},
]  # fmt: skip
ODD_TEXT = [
    b"\x00", b"\xff", b" ", b"\n", b"\t", b"-", b"0", b"1", b"9", b".", b"e1", b'"', b"{", b"}",
    b"[", b"]", b",", b":", b"null", b"true", b"NaN", b"Infinity", b"-0", b"1.0", b"01", b"\\u0000",
    b"\\ud800", b"\\ud83d\\ude00", b"\xef\xbb\xbf", "é".encode(), b"/**/", b"[" * 200,
    b'"shape":[1],', b'"dtype":"U8",', b'"data_offsets":[0,1],',
]  # fmt: skip


def mutated_file(rng):
    """A valid file with one to three things wrong: in its values, its text or its bytes."""
    header, data = random_file(rng)
    for _ in range(rng.randrange(3)):
        _change_value(rng, header)
    text = bytearray(json.dumps(header, separators=rng.choice([(",", ":"), (", ", ": ")])).encode())
    for _ in range(rng.choice([0, 0, 1, 2])):
        _change_text(rng, text)
    length = len(text) + rng.choice([0] * 12 + [-1, 1, 8, 2**24, 2**63])
    content = bytearray(file_bytes(bytes(text), data, max(length, 0)))
    if rng.random() < 0.15:
        content = content[: rng.randrange(len(content) + 1)]
    elif rng.random() < 0.1:
        content += rng.randbytes(rng.randrange(1, 5))
    return bytes(content)


def _odd(rng):
    return copy.deepcopy(rng.choice(ODD_VALUES))  # it may be changed in turn


def _change_value(rng, header):
    names = list(header)
    if not names:
        header[rng.choice(["a", "__metadata__", ""])] = _odd(rng)
        return
    name = rng.choice(names)
    field = rng.choice(["dtype", "shape", "data_offsets", "name", "drop", "all"])
    if field == "all":
        header[name] = _odd(rng)
    elif field == "drop":
        del header[name]
    elif field == "name":
        header[rng.choice(["__metadata__", "", "t0", "t1", "\ud800", "\x1b[31m"])] = copy.deepcopy(
            header[name]
        )
    elif isinstance(header[name], dict):
        value = header[name].get(field)
        if isinstance(value, list) and value and rng.random() < 0.8:
            value[rng.randrange(len(value))] = _odd(rng)
        elif rng.random() < 0.5:
            header[name][field] = _odd(rng)
        else:
            header[name].pop(field, None)


def _change_text(rng, text):
    place = rng.randrange(len(text) + 1)
    action = rng.randrange(4)
    if action == 0:
        text[place:place] = rng.choice(ODD_TEXT)
    elif action == 1:
        del text[place : place + rng.randrange(1, 4)]
    elif action == 2:
        text[place : place + 1] = rng.choice(ODD_TEXT)
    else:
        other = rng.randrange(len(text) + 1)
        text[place:place] = text[min(place, other) : max(place, other)]


def mutated_files(seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        yield mutated_file(rng)
