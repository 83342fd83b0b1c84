"""Matrix-vector products by kernels, on an emulator of the GPU, from weights of every format."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from emulator.backend import device
from emulator.module import COMPILER, ORDERS
from strategies import rngs
from tinyllm.ops.activations import silu_forward
from tinyllm.ops.norms import rmsnorm_forward
from tinyllm.ops.quantization import Quantized, dequantize, quantize
from tinyllm.ops.rope import rope_half_forward, rope_tables
from tinyllm_cuda.decode_kernels import FORMATS, format_of, gemv, gemv_grid, qkv
from tinyllm_cuda.launch import launch

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
DEVICES = {order: device(order) for order in ORDERS}
NONE, EPS = np.zeros(1, np.float32), 1e-5


def kept(weight, format):
    """Keep a matrix in a format, and say what it then is, in float64."""
    if format in ("int8", "int4"):
        q = quantize(weight, bits=int(format[3:]))
        return q, dequantize(tinyllm_numpy, q).astype(np.float64)
    x = weight.astype(format if format != "bfloat16" else ml_dtypes.bfloat16)
    return x, x.astype(np.float64)


def arrays_of(weight):
    return (weight.values, weight.scales) if isinstance(weight, Quantized) else (weight, NONE)


def expect(got, wanted, size):
    """The error of float32 sums of numbers whose magnitudes add up to `size`."""
    assert not np.isnan(got).any(), "not written"
    assert (np.abs(got - wanted) <= 1e-6 * size + 1e-30).all()


@st.composite
def problems(draw):
    """A format, the order of threads, a matrix that divides into nothing, and a vector."""
    format, rng = draw(st.sampled_from(list(FORMATS))), draw(rngs)
    columns = [32, 64, 96, 1024, 1056] if format == "int4" else [1, 3, 8, 24, 33, 64, 130, 1040]
    n, C = draw(st.sampled_from([1, 2, 3, 7, 33])), draw(st.sampled_from(columns))
    x = rng.standard_normal(C).astype(np.float32)
    return format, draw(st.sampled_from(ORDERS)), rng.standard_normal((n, C)), x, rng


@settings(max_examples=25)
@given(problems())
def test_a_projection_adds_to_the_residual(problem):
    format, order, weight, x, rng = problem
    (n, C), (matrix, exact) = weight.shape, kept(weight, format)
    bias, y = (rng.standard_normal(n).astype(np.float32) for _ in range(2))
    before = y.astype(np.float64)
    grid = gemv_grid(-(-n // 2), 1)
    arguments = (*arrays_of(matrix), bias, x, y, n, C)
    launch(DEVICES[order], gemv("gemv_add", format, C), grid, arguments)
    expect(y, before + exact @ x + bias, np.abs(exact) @ np.abs(x) + np.abs(bias) + np.abs(before))


def normalised(x, gain):
    x, gain = x.astype(np.float64), gain.astype(np.float64)
    return rmsnorm_forward(tinyllm_numpy, x, gain, eps=EPS)[0]


@settings(max_examples=15)
@given(problems())
def test_swiglu_of_a_normalised_vector(problem):
    format, order, weight, x, rng = problem
    (n, C), gain = weight.shape, rng.standard_normal(len(x)).astype(np.float32)
    pairs = [kept(w, format) for w in (weight, rng.standard_normal(weight.shape))]
    biases = [rng.standard_normal(n).astype(np.float32) for _ in pairs]
    y, exact = np.full(n, np.nan, np.float32), normalised(x, gain)
    given = [z for (w, _), b in zip(pairs, biases) for z in (*arrays_of(w), b)]
    kernel = gemv("gemv_swiglu", format, C)
    launch(DEVICES[order], kernel, gemv_grid(n, 1), (x, gain, *given, y, n, C, EPS))
    gate, up = (w @ exact + b for (_, w), b in zip(pairs, biases))
    size = [np.abs(w) @ np.abs(exact) + np.abs(b) + 1 for (_, w), b in zip(pairs, biases)]
    expect(y, silu_forward(tinyllm_numpy, gate)[0] * up, 4 * size[0] * size[1])


@settings(max_examples=15)
@given(problems())
def test_the_head_scores_every_token(problem):
    format, order, weight, x, rng = problem
    (n, C), gain = weight.shape, rng.standard_normal(len(x)).astype(np.float32)
    (matrix, exact), normal = kept(weight, format), normalised(x, gain)
    logits = np.full(n, np.nan, np.float32)
    arguments = (x, gain, *arrays_of(matrix), logits, n, C, EPS)
    launch(DEVICES[order], gemv("gemv_head", format, C), gemv_grid(-(-n // 2), 1), arguments)
    expect(logits, exact @ normal, 4 * np.abs(exact) @ np.abs(normal))


@settings(max_examples=15)
@given(
    st.sampled_from(["float32", "bfloat16", "int4"]), st.sampled_from([4, 8, 34]),
    st.sampled_from([(1, 1), (4, 2), (3, 1)]), st.sampled_from([0, 1, 6, 7, 100_003]),
    st.sampled_from(["float32", "bfloat16", "float16"]), st.sampled_from(ORDERS), rngs,
)  # fmt: skip
def test_queries_keys_and_values_are_turned_and_kept(format, d, heads, position, kv, order, rng):
    kv = kv if format == "float32" else "float32"  # fewer kernels to compile
    (H, K), C, room, scale = heads, 64, 7, 1.25
    x, gain = (rng.standard_normal(C).astype(np.float32) for _ in range(2))
    pairs = [kept(rng.standard_normal((h * d, C)), format) for h in (H, K, K)]
    biases = [rng.standard_normal(h * d).astype(np.float32) for h in (H, K, K)]
    frequencies, q = 10_000.0 ** -(np.arange(d // 2) / (d // 2)), np.full(H * d, np.nan, np.float32)
    dtype = ml_dtypes.bfloat16 if kv == "bfloat16" else kv
    keys, values = (np.full((1, K, room, d), -9.0, dtype) for _ in range(2))
    state = np.array([5, position, 0], np.int32)
    given = [z for (w, _), b in zip(pairs, biases) for z in (*arrays_of(w), b)]
    arrays = (x, gain, *given, frequencies / (2 * np.pi), state, q, keys, values)
    kernel = qkv(format, C, format_of(keys))
    launch(DEVICES[order], kernel, gemv_grid((H + 2 * K) * d // 2, 1),
           (*arrays, H, K, d, room, C, EPS, scale))  # fmt: skip
    exact = normalised(x, gain)
    tables = rope_tables(
        tinyllm_numpy, np.array([position]), frequencies, dtype=np.float64, scale=scale
    )
    wanted = [(w @ exact + b).reshape(-1, 1, d) for (_, w), b in zip(pairs, biases)]
    wanted[:2] = [rope_half_forward(tinyllm_numpy, y, *tables)[0] for y in wanted[:2]]
    size = 8 * max((np.abs(w) @ np.abs(exact)).max() + 9 for _, w in pairs)
    expect(q.reshape(H, 1, d), wanted[0], size)
    half = {"float32": 0, "float16": 2.0**-11, "bfloat16": 2.0**-8}[kv]  # of a step, relative
    for cache, new in ((keys, wanted[1]), (values, wanted[2])):
        got = cache[0, :, position % room].astype(np.float64)
        assert (np.abs(got - new[:, 0]) <= 1e-6 * size + half * np.abs(new[:, 0])).all()
        others = np.arange(room) != position % room
        assert (cache[0][:, others] == -9.0).all(), "another column was written"


@pytest.mark.parametrize("format", FORMATS)
def test_rows_that_are_not_aligned_are_read_right(format):
    rng = np.random.default_rng(0)
    matrix, exact = kept(rng.standard_normal((5, 64)), format)
    values, scales = arrays_of(matrix)
    bytes_ = np.zeros(values.nbytes + 32, np.uint8)
    start = -bytes_.ctypes.data % 16 + values.itemsize
    moved = bytes_[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    moved[...] = values
    x, y = rng.standard_normal(64).astype(np.float32), np.zeros(5, np.float32)
    arguments = (moved, scales, np.zeros(5, np.float32), x, y, 5, 64)
    launch(DEVICES["forward"], gemv("gemv_add", format, 64), (1,), arguments)
    expect(y, exact @ x, np.abs(exact) @ np.abs(x))


@pytest.mark.parametrize("format", FORMATS)
def test_any_order_of_threads_and_any_grid_give_the_same_bits(format):
    rng = np.random.default_rng(0)
    (matrix, _), x = kept(rng.standard_normal((33, 96)), format), rng.standard_normal(96)
    vectors = [x.astype(np.float32), rng.standard_normal(96).astype(np.float32)]
    results = set()
    for order in ORDERS:
        for blocks in (1, 3):
            y = np.zeros(33, np.float32)
            arguments = (*vectors, *arrays_of(matrix), y, 33, 96, EPS)
            launch(DEVICES[order], gemv("gemv_head", format, 96), (blocks,), arguments)
            results.add(y.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("tasks", [1, 7, 8, 9, 4096, 14336, 128_256])
def test_a_grid_has_a_warp_for_each_task_or_deals_them_evenly(tasks):
    (blocks,) = gemv_grid(tasks, 132)
    rounds = -(-tasks // (8 * blocks))
    assert blocks <= 4 * 132
    assert 8 * blocks * rounds >= tasks > 8 * (blocks - 1) * rounds
