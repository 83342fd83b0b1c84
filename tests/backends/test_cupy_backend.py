"""The CuPy backend's own lines, over a stand-in for CuPy: dtypes, layouts, which kernels run."""

import importlib.util
from functools import partial

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from emulator import cupy_stand_in
from emulator.module import COMPILER
from tinyllm.errors import UsageError
from tinyllm.ops import attention as formula
from tinyllm.ops.losses import summed_cross_entropy
from tinyllm.ops.position_mask import PositionMask

BFLOAT16, HALF, FLOAT = (np.dtype(t) for t in (ml_dtypes.bfloat16, np.float16, np.float32))
EPS = {BFLOAT16: 2.0**-8, HALF: 2.0**-11}
xp = cupy_stand_in.load()
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")


def array(shape, dtype=FLOAT, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class TestProducts:
    @pytest.mark.parametrize("dtype", [BFLOAT16, HALF])
    @pytest.mark.parametrize(
        ("a", "b"),
        [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (1, 2, 4, 5)),
         ((1, 4), (4, 1)), ((2, 3, 1), (1, 5)), ((0, 4), (4, 5)), ((3, 0), (0, 5))],
    )  # fmt: skip
    @pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
    def test_16_bits_are_summed_in_float32(self, dtype, a, b, turned):
        arrays = []
        for seed, (shape, turn) in enumerate(zip((a, b), turned)):
            x = array((*shape[:-2], *shape[:-3:-1]) if turn else shape, dtype, seed)
            given = xp.asarray(x)
            axes = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
            arrays.append((x.swapaxes(-1, -2) if turn else x,
                           xp.permute_dims(given, axes) if turn else given))  # fmt: skip
        (x, gx), (y, gy) = arrays
        got = xp.to_numpy(xp.matmul(gx, gy))
        assert got.dtype == FLOAT
        np.testing.assert_allclose(got, x.astype(FLOAT) @ y.astype(FLOAT), rtol=1e-5, atol=1e-5)

    def test_slices_of_wider_arrays_are_multiplied_where_they_lie(self):
        x, y = array((4, 6, 8), HALF), array((4, 9, 7), HALF, 1)
        got = xp.matmul(xp.asarray(x)[:, 1:4, 2:7], xp.asarray(y)[::2][:, :5, 1:6][[0, 1, 0, 1]])
        wanted = x[:, 1:4, 2:7].astype(FLOAT) @ y[::2][:, :5, 1:6][[0, 1, 0, 1]].astype(FLOAT)
        np.testing.assert_allclose(xp.to_numpy(got), wanted, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("dtype", [BFLOAT16, HALF])
    def test_rows_are_rounded_to_the_bits_of_a_stored_matrix(self, dtype):
        x, w = array((5, 8)), array((3, 8), dtype, 1)
        got = xp.to_numpy(xp.linear(xp.asarray(x), xp.asarray(w)))
        assert got.dtype == FLOAT
        wanted = x.astype(dtype).astype(np.float64) @ w.astype(np.float64).T
        np.testing.assert_allclose(got, wanted, atol=1e-5)
        assert np.abs(got - x @ w.astype(FLOAT).T).max() > EPS[dtype] / 16  # it was rounded

    def test_float64_stays(self):
        x = array((2, 3, 4), np.float64)
        got = xp.matmul(xp.asarray(x), xp.asarray(x.swapaxes(1, 2)))
        np.testing.assert_array_equal(xp.to_numpy(got), x @ x.swapaxes(1, 2))


@needs_compiler
@settings(max_examples=10)
@given(st.integers(1, 7), st.integers(0, 20), st.sampled_from([1, 5, 300]), st.booleans())
def test_rows_are_added_up_in_their_order(n, N, D, double):
    rng = np.random.default_rng(N)
    values = rng.standard_normal((N, D)).astype(np.float64 if double else FLOAT)
    ids, wanted = rng.integers(0, n, N), np.zeros((n, D), values.dtype)
    for i, row in zip(ids, values):
        wanted[i] += row
    got = xp.to_numpy(xp.index_add(n, xp.asarray(ids), xp.asarray(values)))
    np.testing.assert_array_equal(got, wanted)


@needs_compiler
def test_16_bit_rows_are_added_up_in_float32():
    values = np.full((300, 2), 1, BFLOAT16)  # in bfloat16 256 + 1 is 256
    got = xp.to_numpy(xp.index_add(2, xp.asarray(np.zeros(300, np.int64)), xp.asarray(values)))
    assert got.dtype == BFLOAT16
    assert got[0].tolist() == [300, 300]


@pytest.mark.parametrize("dtype", [BFLOAT16, HALF, FLOAT])
def test_functions_keep_the_dtype(dtype):
    x = xp.asarray(array((3, 4), dtype))
    for f in (xp.sigmoid, xp.erf, lambda x: xp.where(x > 0, x, xp.zeros_like(x))):
        assert f(x).dtype == dtype
    host = xp.to_numpy(x)
    wanted = np.argsort(-host.astype(FLOAT), axis=-1, kind="stable")[:, :2]
    np.testing.assert_array_equal(xp.to_numpy(xp.top_k(x, 2)), wanted)
    got = xp.to_numpy(xp.where(x > 0, x, xp.zeros_like(x)))
    np.testing.assert_array_equal(got, np.where(host > 0, host, np.zeros_like(host)))


def test_the_loss_is_the_same_block_by_block(monkeypatch):
    logits, targets = array((3, 5, 8)), np.random.default_rng(0).integers(0, 8, (3, 5))
    targets[1, 2] = -100
    options = {"label_smoothing": 0.1, "z_loss": 0.01}
    wanted = summed_cross_entropy(tinyllm_numpy, logits, targets, **options)
    for block in (1, 24, 2**20):
        monkeypatch.setitem(xp.summed_cross_entropy.__globals__, "BLOCK", block)
        given = xp.asarray(logits), xp.asarray(targets)
        loss, dlogits = xp.summed_cross_entropy(*given, **options)
        assert float(loss) == pytest.approx(float(wanted[0]), rel=1e-6)
        np.testing.assert_allclose(xp.to_numpy(dlogits), wanted[1], atol=1e-6)


@pytest.fixture
def launched(monkeypatch):
    """The kernels that run in a test, by name."""
    names, scope = [], xp.attention_forward.__globals__
    for which in ("flash_forward", "flash_backward"):
        monkeypatch.setitem(scope, which, partial(noted, scope[which], names))
    return names


def noted(function, names, *arguments):
    names.append(function.__name__)
    return function(*arguments)


def text(T, S, **options):
    """The rule of a text of S tokens whose last T are asked."""
    return PositionMask(queries=np.arange(S - T, S), keys=np.arange(S), **options)


def padded(T, S):
    """The same for a batch of two, whose second text begins three tokens later."""
    shift = np.array([[0], [3]])
    return PositionMask(queries=np.arange(S - T, S) - shift, keys=np.arange(S) - shift)


def both_ways(backend, q, k, v, dy, bias=None, **options):
    given = [None if x is None else backend.asarray(x) for x in (q, k, v, bias)]
    o, saved = backend.attention_forward(*given, **options)
    grads = backend.attention_backward(backend.asarray(dy), saved)
    return [None if x is None else backend.to_numpy(x) for x in (o, *grads)]


BY_KERNELS, IN_TILES = ["flash_forward", "flash_backward"], []
CASES = {
    "no mask": ({}, BY_KERNELS),
    "causal": ({"mask": text(33, 70)}, BY_KERNELS),
    "a window": ({"mask": text(33, 70, window=20)}, BY_KERNELS),
    "a window of both sides": ({"mask": text(33, 70, causal=False, window=9)}, BY_KERNELS),
    "all see all": ({"mask": text(33, 70, causal=False)}, BY_KERNELS),
    "a soft cap": ({"mask": text(33, 70), "softcap": 2.0, "scale": 0.7}, BY_KERNELS),
    "slopes": ({"mask": text(33, 70, slopes=np.array([0.5, 0.25], FLOAT))}, BY_KERNELS),
    "padding": ({"mask": padded(33, 70)}, IN_TILES),
    "an array": ({"mask": np.random.default_rng(0).random((33, 70)) < 0.5}, IN_TILES),
    "a ring": ({"mask": PositionMask(
        queries=np.arange(70, 103), keys=np.roll(np.arange(33, 103), 5))}, IN_TILES),
    "a bias": ({"mask": text(33, 70), "bias": array((2, 33, 70), seed=9)}, IN_TILES),
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("case", CASES)
def test_attention_is_the_formula_whatever_the_mask(case, launched):
    options, kernels = CASES[case]
    arrays = [array((2, h, n, 16), seed=s) for s, (h, n) in enumerate(((2, 33), (1, 70), (1, 70)))]
    dy, given = array((2, 2, 33, 16), seed=7), dict(options)
    mask = given.get("mask")
    if isinstance(mask, np.ndarray):
        given["mask"] = xp.asarray(mask)
    elif mask is not None and mask.slopes is not None:
        given["mask"] = PositionMask(
            queries=mask.queries, keys=mask.keys, slopes=xp.asarray(mask.slopes)
        )
    got = both_ways(xp, *arrays, dy, **given)
    assert launched == kernels
    o, saved = formula.attention_forward(tinyllm_numpy, *arrays, **options)
    wanted = o, *formula.attention_backward(tinyllm_numpy, dy, saved)
    for a, b in zip(got, wanted):
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_allclose(a, b, atol=2e-5)


@needs_compiler
@pytest.mark.parametrize(
    ("dtype", "d", "kernels"),
    [(FLOAT, 16, BY_KERNELS), (FLOAT, 12, IN_TILES), (np.dtype(np.float64), 16, IN_TILES),
     (BFLOAT16, 16, BY_KERNELS), (HALF, 24, IN_TILES)],
)  # fmt: skip
def test_what_kernels_take_is_theirs_and_the_dtype_comes_back(dtype, d, kernels, launched):
    """16-bit heads of another size than the tensor cores' kernels have are computed in float32."""
    q, k, v, dy = (array((1, 2, 20, d), dtype, seed) for seed in range(4))
    got = both_ways(xp, q, k, v, dy, mask=text(20, 20))
    assert launched == kernels
    assert all(x.dtype == dtype for x in got[:4])
    wide = [x.astype(np.float64) for x in (q, k, v, dy)]
    wanted = both_ways(tinyllm_numpy, *wide, mask=text(20, 20))
    for a, b in zip(got[:4], wanted):
        np.testing.assert_allclose(a.astype(np.float64), b, atol=8 * EPS.get(dtype, 1e-6))


@needs_compiler
def test_queries_meet_the_keys_of_a_narrow_cache(launched):
    q, k, v = array((1, 2, 3, 16)), array((1, 1, 40, 16), HALF, 1), array((1, 1, 40, 16), HALF, 2)
    cache = [xp.asarray(np.concatenate([x, x], axis=2))[:, :, :40] for x in (k, v)]
    o, _ = xp.attention_forward(xp.asarray(q), *cache, mask=text(3, 40))
    assert (o.dtype, launched) == (FLOAT, ["flash_forward"])
    wanted, _ = tinyllm_numpy.attention_forward(
        q, k.astype(FLOAT), v.astype(FLOAT), mask=text(3, 40)
    )
    np.testing.assert_allclose(xp.to_numpy(o), wanted, atol=1e-3)


@needs_compiler
def test_heads_in_another_order_of_memory_are_brought_into_one_piece():
    arrays = [
        array((2, n, h, 16), seed=s) for s, (h, n) in enumerate(((2, 9), (1, 9), (1, 9), (2, 9)))
    ]
    turned = [xp.permute_dims(xp.asarray(x), (0, 2, 1, 3)) for x in arrays]
    o, saved = xp.attention_forward(*turned[:3])
    xp.attention_backward(turned[3], saved)
    wanted, _ = tinyllm_numpy.attention_forward(*(x.transpose(0, 2, 1, 3) for x in arrays[:3]))
    np.testing.assert_allclose(xp.to_numpy(o), wanted, atol=1e-5)


@needs_compiler
def test_a_nan_among_the_inputs_is_seen_in_the_result():
    q, k, v, dy = (array((1, 1, 20, 16), seed=seed) for seed in range(4))
    k[0, 0, 3, 5] = np.nan
    o, dq, *_ = both_ways(xp, q, k, v, dy, mask=text(20, 20))
    assert np.isfinite(o[0, 0, :3]).all()
    assert np.isnan(o[0, 0, 3:]).all()
    assert np.isnan(dq[0, 0, 3:]).all()


def test_long_texts_are_cut_into_tiles():
    tile = xp.attention_forward.__globals__["_tile"]
    for B, H, T, S in ((1, 1, 5, 7), (1, 32, 65536, 65536), (64, 64, 4096, 4096), (1, 8, 1, 10**6)):
        rows, columns = tile(np.zeros((B, H, T, 0)), np.zeros((B, 1, S, 0)))
        assert 1 <= rows <= T
        assert 1 <= columns <= S
        assert B * H * rows * columns <= max(2**26, B * H * 128 * 128)
    assert tile(np.zeros((1, 8, 1, 0)), np.zeros((1, 8, 10**6, 0))) == (1, 10**6)


def test_memory_is_that_of_the_gpu_and_the_pool_within_its_limit(monkeypatch):
    pool = xp.free_memory.__globals__["cp"].get_default_memory_pool()
    assert xp.free_memory() == 70_400_000_000
    monkeypatch.setattr(pool, "limit", 700_000_000)
    assert xp.free_memory() == 100_000_000
    monkeypatch.setattr(pool, "limit", 500_000_000)
    assert xp.free_memory() == 0


def test_peak_memory_is_by_how_much_the_pool_grew(monkeypatch):
    pool = xp.free_memory.__globals__["cp"].get_default_memory_pool()
    freed, called = [], []
    monkeypatch.setattr(pool, "free_all_blocks", lambda: freed.append(1), raising=False)
    assert xp.peak_memory(lambda: called.append(1)) == 400_000_000
    assert (freed, called) == ([1], [1])


def test_arrays_of_numpy_are_refused():
    x = array((1, 1, 4, 16))
    with pytest.raises(UsageError, match="k is a numpy array, expected one of cupy"):
        xp.attention_forward(xp.asarray(x), x, x)
    with pytest.raises(TypeError, match=r"Unsupported type <class 'numpy.ndarray'>"):
        xp.linear(xp.asarray(x[0, 0]), x[0, 0])


def test_a_kernel_that_does_not_compile_shows_the_line(monkeypatch):
    scope = xp.device.__globals__
    module = scope["cp"]

    def fail(**options):
        log = "default_program(3): error: y is undefined\n    x[0] = y;\n     ^\n\n1 error"
        error = cupy_stand_in.CompileException(log)

        def compile():
            raise error

        return type("Module", (), {"compile": staticmethod(compile)})

    monkeypatch.setattr(module, "RawModule", fail)
    with pytest.raises(scope["KernelError"]) as caught:
        scope["compiled"]("source", ())
    assert str(caught.value) == (
        "a kernel does not compile: default_program(3): error: y is undefined x[0] = y;"
    )


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
def test_the_stand_in_has_no_name_that_cupy_lacks():
    import cupy

    given = cupy_stand_in.modules()["cupy"]
    missing = [name for name in xp.__all__ if hasattr(given, name) and not hasattr(cupy, name)]
    assert missing == []
    for name in ("RawModule", "asnumpy", "ascontiguousarray", "searchsorted", "ndarray",
                 "get_default_memory_pool", "is_available"):  # fmt: skip
        assert hasattr(cupy, name), name
    for name in vars(given.cuda.runtime):
        assert hasattr(cupy.cuda.runtime, name), name
    assert issubclass(cupy.cuda.compiler.CompileException, Exception)
    assert hasattr(cupy.ndarray, "astype")


@pytest.mark.parametrize(("said", "has_maps"), [(None, True), ("1", True), ("0", False)])
def test_hoppers_own_kernels_can_be_left_out(said, has_maps, monkeypatch):
    make = xp.device.__globals__["_device"].__wrapped__  # which keeps nothing
    runtime, properties = make.__globals__["cp"].cuda.runtime, cupy_stand_in.device_properties(0)
    hopper = properties | {"major": 9}
    monkeypatch.setattr(runtime, "getDeviceProperties", lambda number: hopper)
    monkeypatch.delenv("TINYLLM_WGMMA", raising=False)
    if said:
        monkeypatch.setenv("TINYLLM_WGMMA", said)
    first, second = make(0), make(1)
    assert (first.tensor_map is not None) == has_maps
    assert first != second  # or what is kept for one would be used on the other
