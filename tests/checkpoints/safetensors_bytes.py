"""Safetensors files made by hand, and valid ones at random, for the tests."""

import json

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
