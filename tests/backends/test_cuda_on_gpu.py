"""The attention kernels on the GPU itself, where there is one: what the emulator has been told."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import tinyllm_numpy
from emulator.attention import example, expect_float32, expect_half, formula, run
from tinyllm.ops.fp8 import fp8_attention
from tinyllm_cuda.attention import Band
from tinyllm_cuda.fp8 import flash_forward_fp8
from tinyllm_cuda.launch import Device
from tinyllm_cuda.tensor_map import tensor_map
from tinyllm_cuda.tiers import choose

HALVES = [np.float16, ml_dtypes.bfloat16]


@pytest.fixture(scope="module")
def gpu():
    cupy = pytest.importorskip("cupy", reason="no CuPy")
    if not cupy.cuda.is_available():
        pytest.skip("no GPU")
    here = cupy.cuda.Device()
    return Device(
        raw_module=cupy.RawModule,
        xp=cupy,
        architecture=int(here.compute_capability),
        shared_memory=here.attributes["MaxSharedMemoryPerBlockOptin"],
        tensor_map=tensor_map,
    )


def skip_without(device, dtype, d):
    if choose(device, np.dtype(dtype), d) is None:
        pytest.skip(f"this GPU has no kernel for {np.dtype(dtype)} heads of {d}")


PROBLEMS = pytest.mark.parametrize(
    "problem",
    [
        {},
        {"T": 1},
        {"T": 70, "S": 5},
        {"T": 300, "S": 1000},
        {"softcap": 1.5},
        {"slopes": np.float32([0.5, 0.1])},
    ],
    ids=["ragged", "one query", "nothing seen", "long", "soft cap", "slopes"],
)


@PROBLEMS
@pytest.mark.parametrize("d", [32, 64, 128, 256])
def test_float32_is_the_formula(gpu, problem, d):
    skip_without(gpu, np.float32, d)
    expect_float32(gpu, *example(d=d, **problem))


@PROBLEMS
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("d", [32, 64, 80, 96, 128, 192, 256])
@pytest.mark.parametrize("maps", [False, True], ids=["mma", "wgmma"])
def test_16_bits_are_as_near_as_unfused_attention(gpu, problem, dtype, d, maps):
    device = gpu if maps else replace(gpu, tensor_map=None)
    skip_without(device, dtype, d)
    expect_half(device, *example(dtype, d=d, **problem))


@pytest.mark.parametrize("dtype", [np.float32, *HALVES])
def test_a_rerun_gives_the_same_bits(gpu, dtype):
    skip_without(gpu, dtype, 64)
    arrays, band = example(dtype, T=1000, S=1000)
    first = run(gpu, *arrays, band)
    for _ in range(3):
        for a, b in zip(first, run(gpu, *arrays, band)):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("d", [64, 128])
def test_8_bits_err_as_much_as_the_simulation(gpu, d):
    if choose(gpu, np.dtype(np.float16), d) != "wgmma":
        pytest.skip("this GPU is no Hopper")
    (q, k, v, _), _ = example(np.float16, T=130, S=128, d=d)
    k, v = (np.repeat(x, 2, axis=1) for x in (k, v))
    signs = np.float32(np.where(np.arange(d) % 3, 1, -1))
    arrays = map(gpu.xp.asarray, (q, k, v))
    o, _ = flash_forward_fp8(gpu, *arrays, Band(scale=d**-0.5), gpu.xp.asarray(signs))
    inputs = (x.astype(np.float32) for x in (q, k, v))
    simulated = fp8_attention(tinyllm_numpy, *inputs, block=128, signs=signs)
    exact = formula(q, k, v, np.zeros_like(q), Band(scale=d**-0.5))[0]
    got, expected = (
        np.sqrt(np.mean((np.float64(x) - exact) ** 2)) for x in (gpu.xp.asnumpy(o), simulated)
    )
    assert got < 1.1 * expected  # Hopper keeps fewer bits of a sum of products than float32 has
