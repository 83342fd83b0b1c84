"""The emulator sees what it is for: each synchronisation of a kernel, deleted, is noticed.

Noticed is an error, a deadlock, or one bit that differs from what the kernel as it stands gives, in
one of three orders of threads. What is not noticed must say at its line why it is not needed.
"""

import shutil
from functools import cache

import ml_dtypes
import numpy as np
import pytest

from emulator import module
from emulator.attention import device, example, run
from emulator.module import COMPILER, ORDERS, tensor_map
from emulator.mutations import mutations
from tinyllm_cuda import launch
from tinyllm_cuda.attention import flash_backward, flash_forward
from tinyllm_cuda.fp8 import flash_forward_fp8

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with"),
    pytest.mark.slow,
    pytest.mark.untraced,
]
HOPPER = {"architecture": 90, "tensor_map": tensor_map}
TIERS = {
    "f32": ({}, example(T=130, S=200)),
    "mma": ({}, example(ml_dtypes.bfloat16, T=130, S=200)),
    "wgmma": (HOPPER, example(ml_dtypes.bfloat16, S=600)),
    "fp8": (HOPPER, example(ml_dtypes.bfloat16, S=600)),
}


@cache
def right(tier):
    """Return what a tier's kernels give as they stand."""
    options, (arrays, band) = TIERS[tier]
    where = device(shared_memory=227 * 1024, **options)
    if tier == "fp8":
        return flash_forward_fp8(where, *arrays[:3], band, signs(arrays[0]))
    return run(where, *arrays, band)


def signs(q):
    return (-np.ones(q.shape[-1], np.float32)) ** np.arange(q.shape[-1])


def noticed(tier, order, *, forward, backward):
    """Whether kernels of a tier fail, or give something else than they did."""
    options, ((q, k, v, do), band) = TIERS[tier]
    where, expected = device(order=order, shared_memory=227 * 1024, **options), right(tier)
    results = expected[:2]
    try:
        if tier == "fp8":
            results = flash_forward_fp8(where, q, k, v, band, signs(q))
        elif forward:
            results = flash_forward(where, q, k, v, band)
        if backward:
            results = *results, *flash_backward(where, do, q, k, v, *expected[:2], band)
    except RuntimeError:
        return True
    return not all(a.tobytes() == b.tobytes() for a, b in zip(results, expected))


@pytest.mark.parametrize("mutation", mutations(), ids=str)
def test_a_synchronisation_that_is_gone_is_noticed(mutation, tmp_path, monkeypatch):
    tier = next((tier for tier in TIERS if f"_{tier}" in mutation.file), "fp8")
    right(tier)
    kernels = shutil.copytree(launch.KERNELS, tmp_path / "kernels")
    (kernels / mutation.file).write_text(mutation.text)
    monkeypatch.setattr(launch, "KERNELS", kernels)
    monkeypatch.setattr(module, "CACHE", tmp_path)
    forward = "backward" not in mutation.file
    backward = "backward" in mutation.file or "tile" in mutation.file
    seen = any(noticed(tier, order, forward=forward, backward=backward) for order in ORDERS)
    assert seen != mutation.harmless, "not noticed" if not seen else "not harmless"
