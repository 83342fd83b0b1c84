"""Tensor maps, with a driver that only notes what it is asked."""

import ml_dtypes
import numpy as np
import pytest

from tinyllm.errors import UsageError
from tinyllm_cuda import tensor_map as module
from tinyllm_cuda.tensor_map import tensor_map


class Driver:
    def __init__(self, error=0):
        self.error, self.calls = error, []

    def cuTensorMapEncodeTiled(self, *arguments):
        values = (list(x) if hasattr(x, "__len__") else x.value for x in arguments)
        self.calls.append(tuple(values))
        return self.error


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    monkeypatch.setattr(module, "_library", lambda: driver)
    module._encode.cache_clear()
    return driver


@pytest.mark.parametrize(("dtype", "kind"), [(np.float16, 6), (ml_dtypes.bfloat16, 9)])
def test_a_tensor_is_described_as_heads_of_rows(driver, dtype, kind):
    x = np.zeros((2, 3, 100, 80), dtype)
    record = tensor_map(x, 32)
    assert (record.shape, record.dtype, record.ctypes.data % 64) == ((1,), np.dtype("V128"), 0)
    [(to, of, rank, pointer, sizes, strides, box, steps, *modes)] = driver.calls
    assert (to, of, rank, pointer) == (record.ctypes.data, kind, 3, x.ctypes.data)
    assert sizes == [80, 100, 6]
    assert strides == [160, 16000]
    assert (box, steps) == ([64, 32, 1], [1, 1, 1])
    assert modes == [0, 3, 2, 0]  # in one piece, 128-byte swizzle, 128 bytes into L2, zeros outside


def test_the_same_array_is_described_once(driver):
    x = np.zeros((1, 1, 8, 64), np.float16)
    assert tensor_map(x) is tensor_map(x[:, 0])
    assert len(driver.calls) == 1


def test_what_has_no_description_is_told(driver):
    with pytest.raises(
        UsageError, match="a tensor map of float32, expected uint8, float16, bfloat16"
    ):
        tensor_map(np.zeros((8, 64), np.float32))
    driver.error = 1
    with pytest.raises(UsageError, match=r"no tensor map of \(1, 8, 64\): error 1"):
        tensor_map(np.zeros((8, 64), np.float16))
