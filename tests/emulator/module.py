"""Kernels on the CPU: CuPy's `RawModule` over NumPy arrays, from the same source, by g++.

The interface is CuPy's (`RawModule(code, options).get_function(name)(grid, block, arguments)`), so
the launch code of `tinyllm_cuda` drives either. It says whether a kernel is right, and nothing of
its speed. What it cannot see: missing memory fences, registers, conflicts of banks, and whether an
instruction of PTX is spelt as NVIDIA has it (`tools/check_kernels.py` compiles them).
"""

import ctypes
import hashlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
CACHE = Path(
    os.environ.get("TINYLLM_EMULATOR_CACHE", Path(tempfile.gettempdir()) / "tinyllm-emulator")
)
KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^{;]*?\)\s+)?(\w+)\(')
ORDERS = ("forward", "reverse", "shuffled")
COMPILER = shutil.which("g++")


class RawModule:
    """The kernels of a source, compiled once for each text, each header and each option.

    `order` is that in which the threads of a block run between two barriers; no answer may depend
    on it.
    """

    def __init__(self, code, options=(), *, order="forward", seed=0):
        exports = "\n".join(f"EMULATOR_EXPORT({name})" for name in KERNEL.findall(code))
        flags = ["-O1", "-march=native", "-std=c++17", "-shared", "-fPIC", "-pthread", "-w"]
        flags += ["-fno-gnu-unique"]  # or two kernels would share what has the same name in both
        flags += ["-x", "c++", "-include", str(HERE / "cuda.h"), f"-I{HERE}"]
        flags += [option for option in options if not option.startswith("-arch")]
        self.library = ctypes.CDLL(str(build(f"{code}\n{exports}\n", flags)))
        self.order, self.seed = ORDERS.index(order), seed

    def get_function(self, name):
        return RawKernel(getattr(self.library, f"emulator_{name}"), self.order, self.seed)


class RawKernel:
    """One kernel; like CuPy's it takes arrays, and NumPy's scalars by value."""

    def __init__(self, function, order, seed):
        function.restype = ctypes.c_char_p
        self.function, self.order, self.seed = function, order, seed
        self.max_dynamic_shared_size_bytes = 0

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        values = [by_value(x) for x in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(x.ctypes.data for x in values))
        sizes = [(ctypes.c_uint * 3)(*(*size, 1, 1)[:3]) for size in (grid, block)]
        numbers = [ctypes.c_uint(x) for x in (shared_mem, self.order, self.seed)]
        error = self.function(*sizes, *numbers, pointers)
        if error:
            raise RuntimeError(error.decode())


def by_value(x):
    """Return what a kernel gets of an argument, as an array of one: a pointer or a value."""
    if isinstance(x, np.ndarray):
        return x if x.dtype.kind == "V" and x.size == 1 else np.array(x.ctypes.data)
    if not isinstance(x, np.generic):
        raise TypeError(f"{x!r} has no width that a kernel can rely on: wrap it in np.int32 or so")
    return np.array(x)


def tensor_map(array, rows=64):
    """Describe an array to TMA, as `tinyllm_cuda.tensor_map` does, in a record of our own."""
    n, width = array.shape[-2:]
    heads = array.size // (n * width)
    row = width * array.itemsize
    sizes, box = (width, n, heads, row, n * row), (128 // array.itemsize, rows)
    record = struct.pack("<Q5q2i", array.ctypes.data, *sizes, *box)
    return np.frombuffer(record.ljust(128, b"\0"), "V128").copy()


def build(code, flags):
    """Compile to a shared library, unless it is there already; returns its path."""
    headers = [path.read_text() for path in sorted(HERE.glob("*.h"))]
    told = [flag for flag in flags if not flag.startswith("-I")]  # the launcher says what is there
    key = hashlib.sha256("\0".join([code, *headers, *told]).encode()).hexdigest()[:20]
    library = CACHE / f"{key}.so"
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:  # two processes may build at once
            built = Path(folder) / "kernel.so"
            subprocess.run([COMPILER, *flags, "-", "-o", built], input=code, text=True, check=True)
            built.replace(library)
    return library
