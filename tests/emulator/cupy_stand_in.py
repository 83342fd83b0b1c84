"""A stand-in for CuPy where there is no GPU: its names and its refusals, over NumPy's numbers.

It lets the CuPy backend's own lines run: what they ask of CuPy by which name, dtypes, layouts in
memory, that no array of NumPy's meets one of CuPy's, and the launches, which go to the emulator. It
does not prove that CuPy computes what NumPy does, nor anything of streams, memory or speed.

As CuPy 14.2 does, it refuses arrays of NumPy's and implicit conversion to them, gives arrays where
NumPy gives scalars, widens bfloat16 in `where`, and has no batched bfloat16 products.
"""

import ctypes
import functools
import sys
import types

import ml_dtypes
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.lib.stride_tricks import as_strided

from emulator.module import RawModule

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
TYPES = {2: np.dtype(np.float16), 14: BFLOAT16, 0: np.dtype(np.float32)}  # of cudaDataType


class CompileException(Exception):
    """As CuPy has it."""


class ndarray(NDArrayOperatorsMixin):
    """An array that NumPy cannot look into."""

    def __init__(self, value):
        self._value = value if isinstance(value, np.ndarray) else np.asarray(value)
        assert type(self._value) is np.ndarray

    shape = property(lambda self: self._value.shape)
    dtype = property(lambda self: self._value.dtype)
    ndim = property(lambda self: self._value.ndim)
    size = property(lambda self: self._value.size)
    nbytes = property(lambda self: self._value.nbytes)
    itemsize = property(lambda self: self._value.itemsize)
    strides = property(lambda self: self._value.strides)
    flags = property(lambda self: self._value.flags)
    T = property(lambda self: ndarray(self._value.T))

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._value.ctypes.data)

    @property
    def __cuda_array_interface__(self):
        return {"data": (self._value.ctypes.data, False)}

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if ufunc is np.matmul:
            return matmul(*inputs)
        return wrapped(getattr(ufunc, method))(*inputs, **options)

    def __getitem__(self, key):
        return ndarray(self._value[unwrapped(key, arrays_too=True)])

    def __setitem__(self, key, value):
        self._value[unwrapped(key, arrays_too=True)] = unwrapped(value)

    def get(self):
        return self._value.copy()

    def set(self, values):
        self._value[...] = values

    def __len__(self):
        return len(self._value)

    def __bool__(self):
        return bool(self._value)

    def __int__(self):
        return int(self._value)

    def __float__(self):
        return float(self._value)

    def __index__(self):
        return self._value.__index__()

    def __iter__(self):
        return map(ndarray, self._value)

    def __getattr__(self, name):
        if name not in ("astype", "reshape", "transpose", "view", "copy", "sum", "any", "all",
                        "max", "min", "ravel", "item", "tolist"):  # fmt: skip
            raise AttributeError(f"the stand-in's array has no {name}")
        return wrapped(getattr(self._value, name), hosts=name in ("item", "tolist"))


def unwrapped(x, arrays_too=False):
    """Return what NumPy takes for an argument; an array of NumPy's is refused, as CuPy does."""
    if isinstance(x, (tuple, list)):
        return type(x)(unwrapped(item, arrays_too) for item in x)
    if isinstance(x, np.ndarray) and not arrays_too:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return x._value if isinstance(x, ndarray) else x


def wrapped(function, hosts=False):
    """Return a function of NumPy's for the stand-in's arrays."""

    @functools.wraps(function)
    def call(*arguments, **options):
        assert Stream.captured is None, "the stand-in captures kernels, and nothing else"
        options = {name: unwrapped(x) for name, x in options.items()}
        result = function(*map(unwrapped, arguments), **options)
        if isinstance(result, tuple):
            return tuple(map(ndarray, result))
        return ndarray(result) if isinstance(result, (np.ndarray, np.generic)) else result

    return call


def asarray(a, dtype=None, order=None):
    return a if isinstance(a, ndarray) and dtype is None else ndarray(
        np.array(unwrapped(a, arrays_too=True), dtype=dtype, order=order)
    )  # fmt: skip


def asnumpy(a):
    return np.array(unwrapped(a, arrays_too=True))


def where(condition, x, y):
    assert condition.dtype == bool
    result = np.where(unwrapped(condition), unwrapped(x), unwrapped(y))
    return ndarray(result.astype(np.float32) if result.dtype == BFLOAT16 else result)


def argsort(a, axis=-1, kind=None):
    assert a.dtype != BFLOAT16, "Thrust sorts no bfloat16"
    return ndarray(np.argsort(unwrapped(a), axis=axis, kind="stable"))


def matmul(a, b):
    if max(a.ndim, b.ndim) > 2:
        assert BFLOAT16 not in (a.dtype, b.dtype), "CuPy's batched bfloat16 products crash"
    return ndarray(np.matmul(unwrapped(a), unwrapped(b)))


def gemm_strided_batched(
    handle, turn_a, turn_b, m, n, k, one, a, a_type, lda, a_step, b, b_type, ldb, b_step, zero, c,
    c_type, ldc, c_step, batch, compute, algorithm,
):  # fmt: skip
    """cuBLAS's product of matrices whose columns lie one after another: C = op(A) op(B)."""
    if Stream.captured is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is not supported")
    assert ctypes.c_float.from_address(one).value == 1
    assert ctypes.c_float.from_address(zero).value == 0
    assert (compute, c_type) == (68, 0)

    def columns(pointer, kind, rows, n_columns, width, step):
        assert width >= max(1, rows)
        numbers = max(0, batch - 1) * step + (n_columns - 1) * width + rows
        size = TYPES[kind].itemsize
        memory = (ctypes.c_char * (numbers * size)).from_address(pointer)
        flat = np.frombuffer(memory, TYPES[kind])
        strides = (step * size, size, width * size)
        return as_strided(flat, (batch, rows, n_columns), strides)

    A = columns(a, a_type, *((k, m) if turn_a else (m, k)), lda, a_step).astype(np.float32)
    B = columns(b, b_type, *((n, k) if turn_b else (k, n)), ldb, b_step).astype(np.float32)
    A, B = A.swapaxes(1, 2) if turn_a else A, B.swapaxes(1, 2) if turn_b else B
    columns(c, c_type, m, n, ldc, c_step)[...] = A @ B


class Module(RawModule):
    """The emulator's kernels, for the stand-in's arrays."""

    def __init__(self, *, code, options=()):
        super().__init__(code, options)

    def compile(self):
        """It is compiled."""

    def get_function(self, name):
        return Kernel(super().get_function(name))


class Kernel:
    """A kernel that takes no array of NumPy's but records."""

    def __init__(self, kernel):
        self._kernel, self.max_dynamic_shared_size_bytes = kernel, 0

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        assert shared_mem <= 48 * 1024 or self.max_dynamic_shared_size_bytes == shared_mem
        values = tuple(x._value if isinstance(x, ndarray) else x for x in arguments)
        call = functools.partial(self._kernel, grid, block, values, shared_mem=shared_mem)
        if Stream.captured is None:
            call()
        else:
            Stream.captured.append(call)


class Stream:
    """A stream whose captured kernels run when the graph is launched, with the same arrays."""

    captured = None

    def __init__(self, non_blocking=False):
        self.non_blocking = non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def synchronize(self):
        pass

    def begin_capture(self):
        assert self.non_blocking, "the default stream cannot be captured"
        Stream.captured = []

    def end_capture(self):
        calls, Stream.captured = Stream.captured, None

        def launch(stream=None):
            for call in calls:
                call()

        return types.SimpleNamespace(launch=launch)


class Pool:
    """A pool of memory that grew to a gigabyte."""

    limit = 0
    used_bytes = staticmethod(lambda: 600_000_000)
    total_bytes = staticmethod(lambda: 1_000_000_000)
    free_bytes = staticmethod(lambda: 400_000_000)
    free_all_blocks = staticmethod(lambda: None)

    def get_limit(self):
        return self.limit

    def set_limit(self, size=None, fraction=None):
        self.limit = size


class CuPy(types.ModuleType):
    """NumPy's functions by their names, and CuPy's where they differ."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(np, name)
        return wrapped(found) if callable(found) and not isinstance(found, type) else found


def device_properties(number):
    return {
        "name": b"Stand-in", "major": 8, "minor": 0, "sharedMemPerBlockOptin": 166_912,
        "totalGlobalMem": 80_000_000_000, "multiProcessorCount": 3,
    }  # fmt: skip


def modules():
    """Return the stand-in's modules by their names."""
    cupy, special = CuPy("cupy"), types.ModuleType("cupyx.scipy.special")
    runtime = types.SimpleNamespace(
        CUDA_R_16F=2, CUDA_R_16BF=14, CUDA_R_32F=0, getDevice=lambda: 0, getDeviceCount=lambda: 1,
        getDeviceProperties=device_properties, driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000, memGetInfo=lambda: (70_000_000_000, 80_000_000_000),
    )  # fmt: skip
    cublas = types.SimpleNamespace(
        CUBLAS_COMPUTE_32F=68, CUBLAS_GEMM_DEFAULT=-1, gemmStridedBatchedEx=gemm_strided_batched
    )
    cuda = types.ModuleType("cupy.cuda")
    vars(cuda).update(
        runtime=runtime, cublas=cublas, is_available=lambda: True,
        device=types.SimpleNamespace(get_cublas_handle=lambda: 0),
        compiler=types.SimpleNamespace(CompileException=CompileException),
        get_current_stream=Stream, Stream=Stream,
    )  # fmt: skip
    pool = Pool()
    vars(cupy).update(
        ndarray=ndarray, asarray=asarray, asnumpy=asnumpy, where=where, argsort=argsort,
        matmul=matmul, RawModule=Module, cuda=cuda, is_available=lambda: True,
        get_default_memory_pool=lambda: pool, bool_=np.bool_, __version__="14.2.0",
    )  # fmt: skip
    import tinyllm_numpy

    special.erf, special.expit = wrapped(tinyllm_numpy.erf), wrapped(tinyllm_numpy.sigmoid)
    scipy = types.ModuleType("cupyx.scipy")
    scipy.special = special
    return {
        "cupy": cupy, "cupy.cuda": cuda, "cupyx": types.ModuleType("cupyx"),
        "cupyx.scipy": scipy, "cupyx.scipy.special": special,
    }  # fmt: skip


def is_of_cupy(name):
    return name.split(".")[0] in ("cupy", "cupyx", "tinyllm_cupy")


def load():
    """Import the CuPy backend over the stand-in, and leave no trace of either; returns it."""
    before = {name: m for name, m in sys.modules.items() if is_of_cupy(name)}
    for name in before:
        del sys.modules[name]
    sys.modules |= modules()
    try:
        import tinyllm_cupy

        return tinyllm_cupy
    finally:
        for name in [name for name in sys.modules if is_of_cupy(name)]:
            del sys.modules[name]
        sys.modules.update(before)
