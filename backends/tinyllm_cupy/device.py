"""The GPU as `tinyllm_cuda` launches kernels on it."""

import os
from functools import cache
from typing import Any

import cupy as cp

from tinyllm.errors import TinyllmError
from tinyllm_cuda.launch import Device
from tinyllm_cuda.tensor_map import tensor_map


class KernelError(TinyllmError):
    """A kernel that the compiler refuses; the message has its line and what is wrong there."""


def device() -> Device:
    """Return the GPU in use: what it can do, and how CuPy compiles for it.

    TINYLLM_WGMMA=0 in the environment leaves out the kernels that only Hopper has.
    """
    return _device(cp.cuda.runtime.getDevice())


@cache
def _device(number: int) -> Device:
    properties = cp.cuda.runtime.getDeviceProperties(number)
    hopper = properties["major"] == 9 and os.environ.get("TINYLLM_WGMMA") != "0"
    return Device(
        raw_module=compiled, xp=cp, number=number,
        architecture=10 * properties["major"] + properties["minor"],
        shared_memory=properties["sharedMemPerBlockOptin"],
        multiprocessors=properties["multiProcessorCount"],
        tensor_map=tensor_map if hopper else None,
    )  # fmt: skip


def compiled(code: str, options: tuple[str, ...]) -> Any:
    """Compile kernels now, not at their first launch, so that what is wrong shows by its line.

    Raises KernelError.
    """
    module = cp.RawModule(code=code, options=options)
    try:
        module.compile()
    except cp.cuda.compiler.CompileException as error:
        raise KernelError(f"a kernel does not compile: {_first_error(str(error))}") from error
    return module


def _first_error(message: str) -> str:
    """Return the compiler's first complaint, which has a line's number, and that line."""
    lines = message.splitlines() or ["no reason given"]
    at = next((i for i, line in enumerate(lines) if "error" in line), 0)
    return " ".join(" ".join(lines[at : at + 2]).split())
