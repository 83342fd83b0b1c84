"""Describe arrays to TMA, Hopper's engine for copies, by the driver's cuTensorMapEncodeTiled.

A kernel gets the description by value, in a parameter `const __grid_constant__ CUtensorMap`: CuPy
passes arrays of one element so, and this one has 128 bytes.
"""

import ctypes
from functools import cache, lru_cache
from typing import Any

import numpy as np

from tinyllm.errors import UsageError
from tinyllm_cuda.launch import address

DTYPES = {"uint8": 0, "float16": 6, "bfloat16": 9}  # CUtensorMapDataType
BOX = 128  # bytes of a row of a box: the width of the swizzle
SWIZZLE_128B, L2_PROMOTION_128B = 3, 2  # CUtensorMapSwizzle, CUtensorMapL2promotion


def tensor_map(array: Any, rows: int = 64) -> np.ndarray:
    """Describe an array of 8 or 16 bits, of which copies are boxes of `rows` by 128 bytes.

    array (..., T, d) -> a record of 128 bytes, at an address that is a multiple of 64

    TMA sees it as (heads, T, d); what of a box lies past T or d is 0. Raises UsageError for another
    dtype, and where the driver refuses.
    """
    kind = DTYPES.get(str(array.dtype))
    if kind is None:
        raise UsageError(f"a tensor map of {array.dtype}, expected uint8, float16, bfloat16")
    n, width = array.shape[-2:]
    sizes = (array.size // (n * width), n, width)
    return _encode(address(array), kind, array.dtype.itemsize, sizes, rows)


@lru_cache(maxsize=1024)
def _encode(
    pointer: int, kind: int, itemsize: int, sizes: tuple[int, int, int], rows: int
) -> np.ndarray:
    (heads, n, width), row = sizes, sizes[2] * itemsize
    room = np.zeros(128 + 63, np.uint8)
    begin = -room.ctypes.data % 64
    record = room[begin : begin + 128].view("V128")
    error = _library().cuTensorMapEncodeTiled(
        ctypes.c_void_p(record.ctypes.data), ctypes.c_int(kind), ctypes.c_uint32(3),
        ctypes.c_void_p(pointer), _numbers(ctypes.c_uint64, width, n, heads),
        _numbers(ctypes.c_uint64, row, row * n),  # bytes from row to row, head to head
        _numbers(ctypes.c_uint32, BOX // itemsize, rows, 1), _numbers(ctypes.c_uint32, 1, 1, 1),
        ctypes.c_int(0), ctypes.c_int(SWIZZLE_128B), ctypes.c_int(L2_PROMOTION_128B),
        ctypes.c_int(0),
    )  # fmt: skip
    if error:
        raise UsageError(f"the driver makes no tensor map of {sizes}: error {error}")
    return record


def _numbers(kind: Any, *values: int) -> Any:
    return (kind * len(values))(*values)


@cache
def _library() -> Any:
    return ctypes.CDLL("libcuda.so.1")
