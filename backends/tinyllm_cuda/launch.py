"""The one place where kernels are compiled and launched, and where their arguments are checked.

A kernel cannot say that an array is of another type, not in one piece, or that an integer is too
long for it: it reads what it is not meant to. So that is asked here.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.errors import UsageError

KERNELS = Path(__file__).parent / "kernels"
MAX_GRID = (2**31 - 1, 65535, 65535)
STATIC_SHARED = 48 * 1024  # bytes that a block may have without being asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Where kernels run: how they are compiled, and what the GPU allows."""

    raw_module: Callable[..., Any]  # cupy.RawModule, or one of the same interface
    xp: Any  # the module of its arrays: cupy, or numpy
    architecture: int  # compute capability without its point: 80, 90
    shared_memory: int  # bytes that a block may ask for
    tensor_map: Callable[..., Any] | None = None  # see `tinyllm_cuda.tensor_map`
    multiprocessors: int = 1  # that run blocks side by side
    number: int = 0  # so that what is kept for a GPU is not taken for that of another, equal one


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """A kernel's name, its file in kernels/, the macros it is compiled with, and its block."""

    source: str
    name: str
    threads: int
    shared_memory: int = 0  # bytes
    macros: tuple[tuple[str, int], ...] = ()


def launch(device: Device, kernel: Kernel, grid: Sequence[int], arguments: Sequence[Any]) -> None:
    """Run a kernel on a grid of blocks; an int is passed as 32 bits, and a float.

    Raises UsageError where the device cannot run such a grid, or an argument is not what any
    kernel could take: an array of the wrong library or not in one piece, an integer too large.
    """
    check_block(device, kernel, grid)
    values = [as_argument(device, kernel, i, x) for i, x in enumerate(arguments)]
    function = module(device, kernel.source, kernel.macros).get_function(kernel.name)
    if kernel.shared_memory > STATIC_SHARED:
        function.max_dynamic_shared_size_bytes = kernel.shared_memory
    function(tuple(grid), (kernel.threads,), tuple(values), shared_mem=kernel.shared_memory)


def check_block(device: Device, kernel: Kernel, grid: Sequence[int]) -> None:
    """Raise UsageError where the device has no such grid, or no such block."""
    if not (0 < kernel.threads <= 1024 and kernel.threads % 32 == 0):
        raise UsageError(f"{kernel.name}: {kernel.threads} threads, expected 32 to 1024 by warps")
    if kernel.shared_memory > device.shared_memory:
        raise UsageError(
            f"{kernel.name} needs {kernel.shared_memory} bytes of shared memory for each block, "
            f"and the GPU has {device.shared_memory}"
        )
    fits = len(grid) <= 3 and all(
        0 < n <= most for n, most in zip(grid, MAX_GRID[: len(grid)], strict=False)
    )
    if not fits:
        raise UsageError(f"{kernel.name}: a grid of {tuple(grid)}, expected 1 to {MAX_GRID}")


def as_argument(device: Device, kernel: Kernel, i: int, x: Any) -> Any:
    """Return an argument in the type that a kernel expects of it; an array, as it is."""
    if isinstance(x, device.xp.ndarray):
        if not x.flags.c_contiguous:
            raise UsageError(f"{kernel.name}: argument {i} is an array that is not in one piece")
        return x
    if isinstance(x, np.ndarray) and x.dtype.kind == "V":  # a record, passed by value
        return x
    if isinstance(x, int) and abs(x) < 2**31:
        return np.int32(x)
    if isinstance(x, float):
        return np.float32(x)
    raise UsageError(
        f"{kernel.name}: argument {i} is {x!r:.50}, expected an array of {device.xp.__name__}, "
        "a float or an integer of 32 bits"
    )


def address(x: Any) -> int:
    """Return where an array's numbers begin, on the device or in NumPy's memory."""
    interface = getattr(x, "__cuda_array_interface__", None) or x.__array_interface__
    return int(interface["data"][0])


@cache
def module(device: Device, source: str, macros: tuple[tuple[str, int], ...]) -> Any:
    """Compile a file of kernels, once for each device and each set of macros."""
    return device.raw_module(
        code=(KERNELS / source).read_text(), options=options(device.architecture, macros)
    )


def options(architecture: int, macros: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Return what the compiler is told.

    CuPy keeps what it compiled by source and options, and does not look into included files: their
    digest is one of the options. Hopper's own instructions are had by asking for sm_90a.
    """
    headers = "".join(path.read_text() for path in sorted(KERNELS.glob("*.h")))
    digest = hashlib.sha256(headers.encode()).hexdigest()[:8]
    hopper = ("-arch=sm_90a",) if architecture == 90 else ()
    defined = tuple(f"-D{name}={value}" for name, value in macros)
    return (f"-I{KERNELS}", *defined, f"-DHEADERS=0x{digest}", *hopper)
