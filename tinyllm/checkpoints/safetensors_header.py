"""The header of a safetensors file, read with no benefit of the doubt.

    8 bytes   N, little-endian: the length of the header
    N bytes   JSON: {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}
    the rest  the tensors' bytes: no holes, no overlaps; offsets count from here

https://github.com/huggingface/safetensors, "Format". Here two readers could disagree about a file
(duplicate keys, -0, 1.0, overlaps ...), it is refused.
"""

import json
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tinyllm.checkpoints.dtypes import DTYPES, little_endian
from tinyllm.errors import CheckpointError
from tinyllm.shown import shown

FIELDS = {"dtype", "shape", "data_offsets"}
MAX_RANK = 64  # NumPy's
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Where one tensor lies: bytes begin to end after the header."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def parse_header(header: bytes) -> dict[str, Entry]:
    """Read a header: each tensor's name, dtype, shape and place, in the header's order.

    Raises CheckpointError, without the file's name, where the header breaks a rule.
    """
    parsed = _parse_json(header)
    metadata = parsed.pop("__metadata__", None)
    if metadata is not None and not (
        isinstance(metadata, dict) and all(type(v) is str for v in metadata.values())
    ):
        raise CheckpointError("its __metadata__ must map strings to strings")
    entries = {}
    for name, fields in parsed.items():
        try:
            entries[name] = _entry(fields)
        except CheckpointError as error:
            raise CheckpointError(f"its tensor {shown(name)} {error}") from None
    _check_places(entries)
    extra = {key for fields in parsed.values() for key in fields} - FIELDS
    if extra:
        warnings.warn(f"fields {shown(sorted(extra))} of a header are not used", stacklevel=4)
    return entries


def format_header(tensors: dict[str, np.ndarray], metadata: dict[str, str] | None) -> bytes:
    """Write the header for tensors that follow in this order, padded to a multiple of 8 bytes.

    Raises CheckpointError for names, dtypes and metadata that the format does not have.
    """
    header: dict[str, Any] = {}
    if metadata is not None:
        if not all(_is_text(item) for item in [*metadata, *metadata.values()]):
            raise CheckpointError(f"metadata must map strings to strings, not {shown(metadata)}")
        header["__metadata__"] = dict(sorted(metadata.items()))
    code = {dtype: name for name, dtype in DTYPES.items()}
    end = 0
    for name, tensor in tensors.items():
        if not _is_text(name) or name == "__metadata__":
            raise CheckpointError(f"{shown(name)} cannot be the name of a tensor")
        if little_endian(tensor.dtype) not in code:
            raise CheckpointError(
                f"tensor {shown(name)} has dtype {tensor.dtype}, not in the format"
            )
        begin, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": code[little_endian(tensor.dtype)],
            "shape": tensor.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return text + b" " * (-len(text) % 8)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _SURROGATE.search(value)


def data_size(entries: dict[str, Entry]) -> int:
    """The number of bytes that must follow the header."""
    return max((entry.end for entry in entries.values()), default=0)


def _parse_json(header: bytes) -> dict[str, Any]:
    """Parse text that begins with "{": one object, keys unique at every level."""
    try:
        text = header.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_unique, parse_int=_natural, parse_constant=_Spelling
        )
        if "\\u" in text:  # only an escape can make half of a surrogate pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except RecursionError:
        raise CheckpointError("its header is nested too deeply") from None
    except UnicodeEncodeError:
        raise CheckpointError("its header has half a surrogate pair, not Unicode text") from None
    except ValueError as error:
        raise CheckpointError(f"its header is not UTF-8 JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the dict of one JSON object; two equal keys are an error."""
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise CheckpointError(f"its header has the key {shown(twice)} twice")
    return result


class _Spelling(str):
    """A number that can be no size, as it was written: -0, which must not pass for 0, or NaN."""


def _natural(text: str) -> int | _Spelling:
    return _Spelling(text) if text.startswith("-") or len(text) > 19 else int(text)


def _entry(fields: Any) -> Entry:
    """Check one tensor's fields by themselves."""
    if not isinstance(fields, dict):
        raise CheckpointError(f"must be an object, not {shown(fields)}")
    if not fields.keys() >= FIELDS:
        raise CheckpointError(f"has no {min(FIELDS - fields.keys())}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"has dtype {shown(dtype)}, which is not supported")
    if not _are_sizes(shape) or len(shape) > MAX_RANK:
        raise CheckpointError(f"has shape {shown(shape)}; expected up to {MAX_RANK} sizes")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise CheckpointError(f"has data_offsets {shown(offsets)}; two sizes are expected")
    itemsize = DTYPES[dtype].itemsize
    if prod(size for size in shape if size) * itemsize >= 1 << 63:
        raise CheckpointError(f"has shape {shown(shape)}, more than memory can hold")
    begin, end = offsets
    if end - begin != prod(shape) * itemsize:
        raise CheckpointError(
            f"of dtype {dtype} and shape {shown(shape)} takes {prod(shape) * itemsize} "
            f"bytes, but its data_offsets {begin}..{end} span {end - begin}"
        )
    return Entry(dtype=DTYPES[dtype], shape=tuple(shape), begin=begin, end=end)


def _are_sizes(value: Any) -> bool:
    # type(), not isinstance: true is an int to Python
    return isinstance(value, list) and all(type(size) is int for size in value)


def _check_places(entries: dict[str, Entry]) -> None:
    """Each tensor begins where another ends, from 0 on: no holes, no overlaps."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            problem = "overlaps another tensor" if entry.begin < end else "leaves a hole before it"
            raise CheckpointError(
                f"its tensor {shown(name)} at {entry.begin}..{entry.end} {problem} "
                f"(the bytes before it end at {end})"
            )
        end = entry.end
