"""Memory that ends where an array ends: to read or write beyond it ends the process.

`main` runs attention's kernels on such arrays. It wants a process of its own, for what it finds is
a segmentation fault.
"""

import ctypes
import mmap

import ml_dtypes
import numpy as np

from emulator.attention import device, example, run
from emulator.module import tensor_map

LIBC = ctypes.CDLL(None, use_errno=True)
KEPT = []  # the memory of arrays, which do not hold it themselves


class Guarded:
    """NumPy, but each array lies at the end of its pages, before one that nobody may touch."""

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        used = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(-1, used + mmap.PAGESIZE)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        if LIBC.mprotect(ctypes.c_void_p(begin + used), mmap.PAGESIZE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
        KEPT.append(memory)
        return np.frombuffer(memory, np.uint8, size, used - size).view(dtype).reshape(shape)

    def empty_like(self, x):
        return self.empty(x.shape, x.dtype)

    def zeros(self, shape, dtype):
        return self.asarray(np.zeros(shape, dtype))

    def asarray(self, x):
        array = self.empty(x.shape, x.dtype)
        array[...] = x
        return array


def main(tier):
    dtype = np.float32 if tier == "f32" else ml_dtypes.bfloat16
    options = {"architecture": 90, "tensor_map": tensor_map} if tier == "wgmma" else {}
    where = device(shared_memory=227 * 1024, xp=Guarded(), **options)
    for T, S in ((130, 150), (1, 65), (65, 1)):
        arrays, band = example(dtype, T=T, S=S)
        run(where, *arrays, band)
