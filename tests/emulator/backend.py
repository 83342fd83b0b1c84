"""A backend whose kernels run on the emulator: NumPy's arrays, and decoding by tinyllm_cuda."""

from functools import partial

import numpy as np

import tinyllm_numpy
from emulator.module import RawModule
from tinyllm_cuda.decode import compile_decode
from tinyllm_cuda.launch import Device


class Poisoned:
    """NumPy, but of memory that nobody has written: what a kernel leaves out is NaN."""

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -1, dtype)


def device(order="forward", seed=1, **changes):
    """Make an Ampere of a few multiprocessors, whose threads run in an order."""
    return Device(**{
        "raw_module": partial(RawModule, order=order, seed=seed), "xp": Poisoned(),
        "architecture": 80, "shared_memory": 166_912, "multiprocessors": 3, **changes,
    })  # fmt: skip


class EmulatedBackend:
    """NumPy's arrays in CuPy's ways: matrices stay as they are, kernels decode one token."""

    name = "emulated"

    def __init__(self, order="forward"):
        self.device, self.steps = device(order), []

    def __getattr__(self, name):
        return getattr(tinyllm_numpy, name)

    def pack(self, weights, /):
        return weights[0] if len(weights) == 1 else None

    def compile_decode(self, plan, /):
        self.steps.append(compile_decode(self.device, plan))
        return self.steps[-1]
