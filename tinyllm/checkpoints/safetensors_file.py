"""Read and write .safetensors files: a correct answer or one CheckpointError, nothing else.

Reading maps the file and copies nothing: each tensor is a read-only view, and a page comes from the
disk when it is first used. A file that another program cuts short while it is mapped ends the
process (SIGBUS), as with every mapped file; replace files by renaming, as `write_tensors` does.
"""

import mmap
import os
import struct

import numpy as np
from safetensors import SafetensorError, safe_open

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.checkpoints.diagnose import diagnose, refusal
from tinyllm.checkpoints.dtypes import DTYPES, little_endian
from tinyllm.checkpoints.regular_file import open_regular
from tinyllm.checkpoints.safetensors_header import Entry, data_size, format_header, parse_header
from tinyllm.errors import CheckpointError
from tinyllm.shown import shown

MAX_HEADER = 16 * 2**20  # bytes: 280,000 tensors; ten times that take Python a quarter of a minute
Path = str | os.PathLike[str]


def read_tensors(path: Path, max_header: int = MAX_HEADER) -> dict[str, np.ndarray]:
    """Map a .safetensors file: its tensors by name, in the order of its header.

    bfloat16 and the 8-bit floats come as ml_dtypes arrays; BOOL is copied, any nonzero byte being
    true. The header is checked here first, and the safetensors library must then agree.

    Raises CheckpointError, naming the file and the tensor, for anything but a valid file.
    """
    with open_regular(path) as file:
        offset, entries = _read_header(file, path, max_header)
        _second_opinion(path, entries)
        mapped = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        if len(mapped) != offset + data_size(entries):
            raise refusal(path, "changed while it was read")
    return {name: _view(mapped, offset, entry) for name, entry in entries.items()}


def _read_header(file: int, path: Path, max_header: int) -> tuple[int, dict[str, Entry]]:
    """Return where the data begins, and each tensor's place in it."""
    size = os.fstat(file).st_size
    head = os.read(file, 512)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or length > max_header or head[8:9] != b"{":
        raise refusal(path, diagnose(head, size) or _why(head, length, max_header))
    if 8 + length > size:
        raise refusal(path, _incomplete(8 + length, "for the header alone", size))
    os.lseek(file, 8, os.SEEK_SET)
    try:
        entries = parse_header(os.read(file, length))
    except CheckpointError as error:
        raise refusal(path, str(error)) from error.__cause__
    expected = 8 + length + data_size(entries)
    if expected > size:
        raise refusal(path, _incomplete(expected, "in all", size))
    if expected < size:
        raise refusal(path, f"has {size - expected} bytes after its last tensor")
    return 8 + length, entries


def _why(head: bytes, length: int, max_header: int) -> str:
    """Say why these first bytes are not those of a safetensors file, nor of any other known."""
    if len(head) < 9:
        return f"has {len(head)} bytes, too few for a safetensors file; download it again"
    if length > max_header:
        return f"is not a safetensors file, or its header is over {max_header} bytes (max_header)"
    return f"is not a safetensors file: its header must begin with '{{', not {shown(head[8:12])}"


def _incomplete(expected: int, what: str, size: int) -> str:
    return (
        f"expected {expected} bytes {what}, have {size}: the download is incomplete; resume it, "
        "or delete the file and download it again"
    )


def _second_opinion(path: Path, entries: dict[str, Entry]) -> None:
    """Let the safetensors library read the header too; it must find the same names."""
    try:
        with safe_open(os.fspath(path), framework="np") as other:
            names = set(other.keys())
    except SafetensorError as error:
        raise refusal(path, f"is refused by the safetensors library: {error}") from error
    if names != entries.keys():
        raise refusal(path, "changed while it was read")


def _view(mapped: mmap.mmap, offset: int, entry: Entry) -> np.ndarray:
    """Make one array of the mapped bytes."""
    if entry.dtype == np.bool_:  # NumPy takes a byte of 2 for neither true nor false
        raw: np.ndarray = np.ndarray(entry.shape, np.uint8, mapped, offset + entry.begin)
        return np.asarray(raw != 0)  # of no axes, the comparison is a scalar
    return np.ndarray(entry.shape, entry.dtype, mapped, offset + entry.begin)


def release(tensor: np.ndarray) -> None:
    """Give the memory of a mapped tensor's bytes back: they are read again if they are used again.

    Does nothing to an array that is no view of a mapped file.
    """
    mapped = tensor.base
    if isinstance(mapped, mmap.mmap) and tensor.nbytes and hasattr(mmap, "MADV_DONTNEED"):
        first = np.frombuffer(mapped, np.uint8, 1)
        begin = tensor.ctypes.data - first.ctypes.data
        page = begin // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, page, begin + tensor.nbytes - page)


def write_tensors(
    path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write a .safetensors file, whole or not at all; equal tensors give equal bytes.

    The layout is the safetensors library's own (widest dtype first, then by name), written here
    because the library puts metadata in random order. One tensor at a time is in memory.

    Raises CheckpointError, before anything is written, for names, dtypes or metadata that the
    format does not have; and where the disk refuses.
    """
    rank = {dtype: i for i, dtype in enumerate(DTYPES.values())}
    for name, tensor in tensors.items():
        if not isinstance(tensor, np.ndarray):
            kind = type(tensor).__name__
            raise refusal(path, f"tensor {shown(name)} is a {kind}; expected a NumPy array")
    ordered = sorted(
        tensors.items(), key=lambda item: (rank.get(little_endian(item[1].dtype), -1), str(item[0]))
    )
    try:
        header = format_header(dict(ordered), metadata)
    except CheckpointError as error:
        raise refusal(path, str(error)) from None
    if len(header) > MAX_HEADER:
        raise refusal(path, f"its header would take {len(header)} bytes, over {MAX_HEADER}")
    with atomic_write(path) as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _, tensor in ordered:
            dense = np.ascontiguousarray(tensor, dtype=little_endian(tensor.dtype))
            file.write(dense.reshape(-1).view(np.uint8).data)
