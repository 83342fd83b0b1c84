"""The attention kernels, on an emulator of the GPU: each gives what the formula gives."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from emulator.module import COMPILER, ORDERS, RawModule
from strategies import rngs
from tinyllm.errors import UsageError
from tinyllm.ops.alibi import alibi_bias
from tinyllm.ops.attention import attention_backward, attention_forward
from tinyllm_cuda.attention import FAR, Band, flash_backward, flash_forward
from tinyllm_cuda.launch import Device
from tinyllm_cuda.tiers import choose

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")


class Poisoned:
    """NumPy, but of memory that nobody has written: what a kernel leaves out is NaN."""

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        return np.full(shape, np.nan, dtype)

    def empty_like(self, x):
        return np.full(x.shape, np.nan, x.dtype)


def device(architecture=80, order="forward", **options):
    return Device(
        raw_module=partial(RawModule, order=order, seed=1), xp=Poisoned(),
        architecture=architecture, shared_memory=166_912, **options,
    )  # fmt: skip


DEVICES = {order: device(order=order) for order in ORDERS}


def formula(q, k, v, do, band):
    """Return o, lse, dq, dk, dv in float64, from the whole matrix of scores."""
    (H, T), (K, S) = q.shape[1:3], k.shape[1:3]
    q, k, v, do = (x.astype(np.float64) for x in (q, k, v, do))
    distance = np.arange(T)[:, None] + band.offset - np.arange(S)
    visible = (band.least <= distance) & (distance < band.most)
    bias = np.zeros((H, T, S))
    if band.slopes is not None:
        bias = alibi_bias(tinyllm_numpy, distance, band.slopes.astype(np.float64))
    mask = np.where(visible, bias, -np.inf)
    options = {"mask": mask, "scale": band.scale, "softcap": band.softcap or None}
    o, saved = attention_forward(tinyllm_numpy, q, k, v, **options)
    scores = band.scale * q @ np.repeat(k, H // K, axis=1).swapaxes(-1, -2)
    if band.softcap:
        scores = band.softcap * np.tanh(scores / band.softcap)
    with np.errstate(divide="ignore"):
        lse = np.log(np.sum(np.exp(scores + mask), axis=-1))
    return o, lse, *attention_backward(tinyllm_numpy, do, saved)[:3]


def run(where, q, k, v, do, band):
    """Return o, lse, dq, dk, dv by kernels."""
    o, lse = flash_forward(where, q, k, v, band)
    return o, lse, *flash_backward(where, do, q, k, v, o, lse, band)


def expect(results, expected, tolerance):
    """Compare, as a part of each array's largest number, or of 4: the largest that went in.

    Where a query sees one key its gradient is dP - D = 0, and has the rounding of dP.
    """
    for name, got, wanted in zip(("o", "lse", "dq", "dk", "dv"), results, expected):
        assert np.array_equal(got == -np.inf, wanted == -np.inf), name
        assert not np.isnan(got).any(), f"{name}: not written"
        got, wanted = (np.where(wanted == -np.inf, 0.0, x) for x in (got, wanted))
        wrong = np.max(np.abs(got - wanted), initial=0.0)
        largest = np.max(np.abs(wanted), initial=4.0)
        assert wrong <= tolerance * largest, f"{name}: {wrong} of {largest}"


LENGTHS = st.sampled_from([1, 2, 31, 32, 33, 63, 64, 65, 127, 137])


@st.composite
def problems(draw, dtype=np.float32, d=64):
    """Queries, keys, values, dO and a band, of lengths about those of tiles."""
    B, K, G = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    T, S, rng = draw(LENGTHS), draw(LENGTHS), draw(rngs)
    q, do = (rng.standard_normal((B, K * G, T, d)).astype(dtype) for _ in range(2))
    k, v = (rng.standard_normal((B, K, S, d)).astype(dtype) for _ in range(2))
    band = {"scale": d**-0.5, "offset": draw(st.sampled_from([S - T, 0]))}
    band["least"] = draw(st.sampled_from([0, -FAR, -3]))
    band["most"] = draw(st.sampled_from([FAR, 1, 20, 64]))
    return (q, k, v, do), band


@settings(max_examples=10)
@given(problems(), st.sampled_from([0.0, 1.5]), st.booleans(), st.sampled_from(ORDERS))
def test_float32_is_the_formula(problem, softcap, alibi, order):
    arrays, band = problem
    slopes = np.linspace(0.5, 0.1, arrays[0].shape[1], dtype=np.float32) if alibi else None
    band = Band(**band, softcap=softcap, slopes=slopes)
    expect(run(DEVICES[order], *arrays, band), formula(*arrays, band), 2e-6)


def example(dtype=np.float32, T=130, S=150, d=64, seed=0):
    """A problem with ragged tiles, shared heads and a causal mask."""
    rng = np.random.default_rng(seed)
    q, do = (rng.standard_normal((1, 2, T, d)).astype(dtype) for _ in range(2))
    k, v = (rng.standard_normal((1, 1, S, d)).astype(dtype) for _ in range(2))
    return (q, k, v, do), Band(scale=d**-0.5, offset=S - T, least=0)


def test_a_rerun_and_another_order_of_threads_give_the_same_bits():
    arrays, band = example()
    first = run(DEVICES["forward"], *arrays, band)
    for order in ORDERS:
        for a, b in zip(first, run(DEVICES[order], *arrays, band)):
            assert np.array_equal(a, b)


def test_a_query_that_sees_nothing_gives_zero_and_takes_no_gradient():
    (q, k, v, do), band = example(T=70, S=5)  # 65 queries stand before the first key
    o, lse, dq, dk, dv = run(DEVICES["forward"], q, k, v, do, band)
    assert (lse[:, :, :65] == -np.inf).all()
    assert not o[:, :, :65].any()
    assert not dq[:, :, :65].any()
    assert np.isfinite([*dk.ravel(), *dv.ravel()]).all()


@pytest.mark.parametrize(("T", "S"), [(0, 5), (5, 0), (0, 0)])
def test_no_queries_and_no_keys(T, S):
    arrays, band = example(T=T, S=S)
    o, lse, dq, dk, dv = run(DEVICES["forward"], *arrays, band)
    assert [x.shape[2] for x in (o, lse, dq, dk, dv)] == [T, T, T, S, S]
    assert not any(x.any() for x in (o, dq, dk, dv))


@pytest.mark.parametrize(
    ("architecture", "dtype", "d", "plain", "expected"),
    [
        (75, np.float32, 64, True, "f32"),
        (75, np.float16, 64, True, None),
        (90, np.float32, 16, False, "f32"),
        (90, np.float32, 24, False, None),
        (90, np.float32, 256, False, None),
        (80, np.float16, 64, True, "mma"),
        (80, np.float16, 80, True, None),
        (90, np.float16, 128, False, None),
        (90, np.float64, 64, True, None),
        (90, np.float16, 128, True, "mma"),  # without tensor maps
        (120, np.float16, 128, True, "mma"),
    ],
)
def test_the_kernels_are_chosen_by_what_the_device_and_the_arrays_are(
    architecture, dtype, d, plain, expected
):
    assert choose(device(architecture), np.dtype(dtype), d, plain=plain) == expected


def test_hoppers_kernels_need_its_tensor_maps():
    assert choose(device(90, tensor_map=print), np.dtype(np.float16), 64) == "wgmma"


def test_arrays_that_no_kernel_takes_are_refused():
    (q, k, v, _), band = example()
    with pytest.raises(UsageError, match="no attention kernel takes float64"):
        flash_forward(device(), *(x.astype(np.float64) for x in (q, k, v)), band)
    with pytest.raises(UsageError, match="expected one dtype and width"):
        flash_forward(device(), q, k.astype(np.float16), v, band)
    with pytest.raises(UsageError, match="their heads do not share"):
        flash_forward(device(), q, k, v[:, :, :3], band)
