"""The launcher: what it refuses, and that it drives the emulator as it would drive CuPy."""

import re
from dataclasses import replace

import numpy as np
import pytest

from emulator.module import COMPILER, RawModule
from tinyllm.errors import UsageError
from tinyllm_cuda import launch as launcher
from tinyllm_cuda.launch import Device, Kernel, launch

DEVICE = Device(raw_module=RawModule, xp=np, architecture=80, shared_memory=166_912)
KERNEL = Kernel(
    source="scale.cu", name="scale", threads=64, shared_memory=256, macros=(("TIMES", 3),)
)
SOURCE = """
extern __shared__ unsigned char shared[];
extern "C" __global__ void scale(const float *x, float *y, int n, float plus) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  ((float *)shared)[threadIdx.x] = i < n ? x[i] : 0;
  __syncthreads();
  if (i < n) y[i] = TIMES * ((float *)shared)[threadIdx.x] + plus;
}
extern "C" __global__ void hang(int n) {
  if (threadIdx.x < n) __syncthreads();
}
"""
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of kernels with one file."""
    (tmp_path / "scale.cu").write_text(SOURCE)
    monkeypatch.setattr(launcher, "KERNELS", tmp_path)
    launcher.module.cache_clear()
    return tmp_path


@needs_compiler
def test_integers_and_floats_reach_a_kernel_in_32_bits(folder):
    x, y = np.arange(100, dtype=np.float32), np.full(100, np.nan, np.float32)
    launch(DEVICE, KERNEL, (2,), (x, y, 99, 0.5))
    np.testing.assert_array_equal(y[:99], 3 * x[:99] + 0.5)
    assert np.isnan(y[99])


@needs_compiler
def test_a_barrier_that_not_all_threads_reach_is_an_error_and_no_hang(folder):
    with pytest.raises(RuntimeError, match="deadlock"):
        launch(DEVICE, replace(KERNEL, name="hang"), (1,), (33,))


@needs_compiler
def test_more_shared_memory_than_was_asked_for_is_an_error(folder):
    x = np.zeros(64, np.float32)
    with pytest.raises(RuntimeError, match="beyond the shared memory"):
        launch(DEVICE, replace(KERNEL, shared_memory=252), (1,), (x, x, 64, 0.0))


@needs_compiler
def test_a_module_is_compiled_once(folder):
    made = []

    def counting(code, options):
        made.append(options)
        return RawModule(code, options)

    device = replace(DEVICE, raw_module=counting)
    x = np.zeros(1, np.float32)
    for _ in range(2):
        launch(device, KERNEL, (1,), (x, x, 1, 0.0))
    assert len(made) == 1
    launch(device, replace(KERNEL, macros=(("TIMES", 4),)), (1,), (x, x, 1, 0.0))
    assert len(made) == 2


def test_what_is_included_is_part_of_what_the_compilers_cache_goes_by(folder):
    before = launcher.options(80, ())
    (folder / "new.h").write_text("// changed")
    after = launcher.options(80, ())
    assert before[0] == after[0]
    assert before != after


def test_hopper_is_asked_for_with_its_own_instructions():
    assert "-arch=sm_90a" in launcher.options(90, ())
    assert not any("arch" in option for option in launcher.options(80, ()))


X = np.zeros((4, 4), np.float32)


@pytest.mark.parametrize(
    ("change", "grid", "arguments", "message"),
    [
        ({"threads": 48}, (1,), (), "48 threads, expected 32 to 1024 by warps"),
        ({"threads": 2048}, (1,), (), "2048 threads"),
        ({"shared_memory": 200_000}, (1,), (), "needs 200000 bytes .* the GPU has 166912"),
        ({}, (0,), (), r"a grid of \(0,\), expected 1 to"),
        ({}, (1, 65536), (), r"a grid of \(1, 65536\)"),
        ({}, (1, 1, 1, 1), (), r"a grid of \(1, 1, 1, 1\)"),
        ({}, (1,), (X.T[1:],), "argument 0 is an array that is not in one piece"),
        ({}, (1,), (X, 2**31), "argument 1 is 2147483648, expected an array of numpy"),
        ({}, (1,), (X, 1, None), "argument 2 is None"),
        ({}, (1,), ([1.0],), re.escape("argument 0 is [1.0]")),
    ],
)
def test_what_no_kernel_could_take_is_refused_before_it_runs(change, grid, arguments, message):
    with pytest.raises(UsageError, match=message):
        launch(DEVICE, replace(KERNEL, **change), grid, arguments)


def test_the_emulator_takes_no_python_number_as_cupy_would_pass_64_bits():
    from emulator.module import by_value

    with pytest.raises(TypeError, match="no width that a kernel can rely on"):
        by_value(3)
