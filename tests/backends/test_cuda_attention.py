"""The attention kernels, on an emulator of the GPU: each gives what the formula gives."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.attention import (
    DEVICES,
    HOPPERS,
    biased,
    device,
    example,
    expect_float32,
    expect_half,
    problems,
    run,
)
from emulator.module import COMPILER, ORDERS, tensor_map
from tinyllm.errors import UsageError
from tinyllm_cuda.attention import Band, flash_forward
from tinyllm_cuda.tiers import choose

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
HALVES = [np.float16, ml_dtypes.bfloat16]
SIZES = [16, 32, 64, 80, 96, 128, 192, 256]
SOFTCAPS = st.sampled_from([0.0, 1.5])


@settings(max_examples=10)
@given(problems(), SOFTCAPS, st.booleans(), st.sampled_from(ORDERS))
def test_float32_is_the_formula(problem, softcap, alibi, order):
    arrays, band = problem
    expect_float32(DEVICES[order], arrays, biased(band, softcap, alibi, arrays[0].shape[1]))


@settings(max_examples=6)
@given(problems(dtype=ml_dtypes.bfloat16), SOFTCAPS, st.booleans(), st.sampled_from(ORDERS))
def test_bfloat16_on_tensor_cores_is_as_near_as_unfused_attention(problem, softcap, alibi, order):
    arrays, band = problem
    expect_half(DEVICES[order], arrays, biased(band, softcap, alibi, arrays[0].shape[1]))


@settings(max_examples=6)
@given(problems(dtype=ml_dtypes.bfloat16), SOFTCAPS, st.booleans(), st.sampled_from(ORDERS))
def test_bfloat16_on_hopper_is_as_near_as_unfused_attention(problem, softcap, alibi, order):
    arrays, band = problem
    expect_half(HOPPERS[order], arrays, biased(band, softcap, alibi, arrays[0].shape[1]))


@pytest.mark.slow
@settings(max_examples=100)
@given(problems(), SOFTCAPS, st.booleans(), st.sampled_from(ORDERS))
def test_float32_is_the_formula_at_length(problem, softcap, alibi, order):
    arrays, band = problem
    expect_float32(DEVICES[order], arrays, biased(band, softcap, alibi, arrays[0].shape[1]))


@pytest.mark.slow
@settings(max_examples=60)
@given(st.data(), st.sampled_from(HALVES), SOFTCAPS, st.booleans(), st.sampled_from(ORDERS))
@pytest.mark.parametrize("devices", [DEVICES, HOPPERS], ids=["mma", "wgmma"])
def test_16_bits_are_as_near_as_unfused_attention_at_length(
    devices, data, dtype, softcap, alibi, order
):
    arrays, band = data.draw(problems(dtype=dtype))
    expect_half(devices[order], arrays, biased(band, softcap, alibi, arrays[0].shape[1]))


@pytest.mark.slow
@pytest.mark.parametrize("d", SIZES)
def test_float32_heads_of_every_size(d):
    expect_float32(DEVICES["shuffled"], *example(d=d))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("d", SIZES)
@pytest.mark.parametrize("devices", [DEVICES, HOPPERS], ids=["mma", "wgmma"])
def test_16_bit_heads_of_every_size(devices, dtype, d):
    expect_half(devices["shuffled"], *example(dtype, d=d, S=300))


@pytest.mark.slow
@pytest.mark.parametrize("kib", [163, 99, 64])  # A100, RTX 4090, Turing
@pytest.mark.parametrize("d", [32, 128])
def test_float32_tiles_are_as_large_as_a_device_allows(kib, d):
    expect_float32(device(75, shared_memory=kib * 1024), *example(d=d))


TIERS = pytest.mark.parametrize(
    ("devices", "dtype"),
    [(DEVICES, np.float32), (DEVICES, ml_dtypes.bfloat16), (HOPPERS, ml_dtypes.bfloat16)],
    ids=["f32", "mma", "wgmma"],
)


@TIERS
def test_a_rerun_and_another_order_of_threads_give_the_same_bits(devices, dtype):
    arrays, band = example(dtype, S=300)
    first = run(devices["forward"], *arrays, band)
    for order in ORDERS:
        for a, b in zip(first, run(devices[order], *arrays, band)):
            assert np.array_equal(a, b)


@TIERS
def test_a_query_that_sees_nothing_gives_zero_and_takes_no_gradient(devices, dtype):
    (q, k, v, do), band = example(dtype, T=70, S=5)  # 65 queries stand before the first key
    o, lse, dq, dk, dv = run(devices["forward"], q, k, v, do, band)
    assert (lse[:, :, :65] == -np.inf).all()
    assert not o[:, :, :65].any()
    assert not dq[:, :, :65].any()
    assert np.isfinite(np.float32([*dk.ravel(), *dv.ravel()])).all()


@TIERS
@pytest.mark.parametrize(("T", "S"), [(0, 5), (5, 0), (0, 0)])
def test_no_queries_and_no_keys(devices, dtype, T, S):
    arrays, band = example(dtype, T=T, S=S)
    o, lse, dq, dk, dv = run(devices["forward"], *arrays, band)
    assert [x.shape[2] for x in (o, lse, dq, dk, dv)] == [T, T, T, S, S]
    assert not any(x.any() for x in (o, dq, dk, dv))


@pytest.mark.parametrize(
    ("architecture", "dtype", "d", "expected"),
    [
        (75, np.float32, 64, "f32"),
        (75, np.float16, 64, None),
        (90, np.float32, 16, "f32"),
        (90, np.float32, 24, None),
        (90, np.float32, 256, "f32"),
        (90, np.float32, 272, None),
        (80, np.float16, 64, "mma"),
        (80, np.float16, 80, "mma"),
        (80, np.float16, 72, None),
        (80, np.float16, 144, None),
        (80, np.float16, 160, "mma"),
        (90, np.float64, 64, None),
        (90, np.float16, 128, "mma"),  # without tensor maps
        (120, np.float16, 128, "mma"),
    ],
)
def test_the_kernels_are_chosen_by_what_the_device_and_the_arrays_are(
    architecture, dtype, d, expected
):
    assert choose(device(architecture), np.dtype(dtype), d) == expected


def test_hoppers_kernels_need_its_tensor_maps():
    hopper = device(90, tensor_map=tensor_map)
    assert choose(hopper, np.dtype(np.float16), 256) == "wgmma"
    assert choose(hopper, np.dtype(np.float16), 144) is None
    assert choose(device(90), np.dtype(np.float16), 256) == "mma"


def test_a_head_too_large_for_shared_memory_has_no_kernel():
    small = device(75, shared_memory=64 * 1024)
    assert choose(small, np.dtype(np.float32), 192) == "f32"
    assert choose(small, np.dtype(np.float32), 256) is None


def test_arrays_that_no_kernel_takes_are_refused():
    (q, k, v, _), band = example()
    with pytest.raises(UsageError, match="no attention kernel takes float64"):
        flash_forward(device(), *(x.astype(np.float64) for x in (q, k, v)), band)
    with pytest.raises(UsageError, match="expected one dtype and width"):
        flash_forward(device(), q, k.astype(np.float16), v, band)
    with pytest.raises(UsageError, match="their heads do not share"):
        flash_forward(device(), q, k, v[:, :, :3], band)
    shifted = np.zeros(q.size + 1, np.float32)[1:].reshape(q.shape)
    with pytest.raises(UsageError, match="begins at no multiple of 16 bytes"):
        flash_forward(device(), shifted, k, v, band)
    with pytest.raises(UsageError, match=r"scale is 0.0, expected a number above 0"):
        Band(scale=0.0)
