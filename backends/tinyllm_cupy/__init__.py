"""The CuPy backend: the same arrays on an NVIDIA GPU."""

from collections.abc import Callable, Sequence
from typing import Any

from tinyllm.errors import BackendUnavailableError

try:
    import cupy as cp
    from cupy import (
        abs,
        any,
        arange,
        asarray,
        astype,
        broadcast_to,
        concat,
        cos,
        exp,
        expand_dims,
        float32,
        float64,
        inf,
        int64,
        log,
        max,
        mean,
        ones_like,
        permute_dims,
        pi,
        reshape,
        sin,
        sqrt,
        stack,
        sum,
        take,
        tanh,
        zeros,
        zeros_like,
    )
    from cupy import bool_ as bool
    from cupyx.scipy import special
except (ImportError, OSError, RuntimeError, AttributeError) as error:  # or a broken, foreign wheel
    raise BackendUnavailableError(
        f"the cupy backend needs CuPy (pip install cupy-cuda13x, or cupy-cuda12x for CUDA 12): "
        f"{(str(error).strip() or type(error).__name__).splitlines()[0]}"
    ) from error

try:
    _missing = "" if cp.is_available() else "CuPy finds none"
except RuntimeError as error:  # CUDA's own, such as of a driver that is too old
    _missing = f"CuPy says {error}"
if _missing:
    raise BackendUnavailableError(
        f"the cupy backend needs an NVIDIA GPU and its driver, and {_missing}; "
        "--backend numpy runs on the CPU"
    )

# These use CuPy, so they come after it was found to work.
from tinyllm.decode_plan import DecodePlan, DecodeStep
from tinyllm_cuda import decode
from tinyllm_cuda import index_add as kernels
from tinyllm_cupy.attention import attention_backward, attention_forward
from tinyllm_cupy.device import device
from tinyllm_cupy.losses import summed_cross_entropy
from tinyllm_cupy.memory import free_memory, peak_memory
from tinyllm_cupy.products import NARROW, linear, matmul, pack

# fmt: off
__all__ = [
    "abs", "add_rows", "any", "arange", "asarray", "astype", "attention_backward",
    "attention_forward", "bool", "broadcast_to", "compile_decode", "concat", "cos", "erf", "exp",
    "expand_dims", "float32", "float64", "free_memory", "index_add", "inf", "int64", "linear",
    "log", "matmul", "max", "mean", "name", "narrow_products", "ones_like", "pack", "parallel_map",
    "peak_memory", "permute_dims", "pi", "reshape", "sigmoid", "sin", "sqrt", "stack", "sum",
    "summed_cross_entropy", "synchronize", "take", "tanh", "to_numpy", "top_k", "where", "zeros",
    "zeros_like",
]
# fmt: on

name = "cupy"
narrow_products = True


def to_numpy(x: Any, /) -> Any:
    """Copy `x` to the host; waits for the GPU."""
    return cp.asnumpy(x)


def synchronize() -> None:
    """Wait until the GPU has run every kernel that was launched."""
    cp.cuda.get_current_stream().synchronize()


def index_add(n: int, ids: Any, values: Any, /) -> Any:
    """Add up the rows that share an index, in their order (see `tinyllm.backend.Backend`).

    16-bit numbers are summed in float32.
    """
    wide = cp.float32 if values.dtype in NARROW else values.dtype
    return kernels.index_add(device(), n, ids, values.astype(wide)).astype(values.dtype)


def add_rows(x: Any, ids: Any, values: Any, /) -> Any:
    """Add rows to those that indices name, in place (see `tinyllm.backend.Backend`)."""
    x += index_add(x.shape[0], ids, values)
    return x


def top_k(x: Any, k: int, /) -> Any:
    """Return where the k largest of each row are: CuPy's sort keeps the order of equals."""
    wide = x.astype(cp.float32) if x.dtype in NARROW else x  # Thrust sorts no bfloat16
    return cp.argsort(-wide, axis=-1)[..., :k]


def where(condition: Any, x1: Any, x2: Any, /) -> Any:
    """Choose element by element; of bfloat16, which CuPy's own would widen, the bits."""
    if x1.dtype == x2.dtype == NARROW[0]:
        return cp.where(condition, x1.view("uint16"), x2.view("uint16")).view(x1.dtype)
    return cp.where(condition, x1, x2)


def sigmoid(x: Any, /) -> Any:
    """The logistic function, 1 / (1 + exp(-x))."""
    return _widened(special.expit, x)


def erf(x: Any, /) -> Any:
    """The error function."""
    return _widened(special.erf, x)


def _widened(f: Callable[[Any], Any], x: Any) -> Any:
    """Apply in float32 what has no form, or one of another dtype, for 16 bits."""
    return f(x.astype(cp.float32)).astype(x.dtype) if x.dtype in NARROW else f(x)


def compile_decode(plan: DecodePlan, /) -> DecodeStep | None:
    """Make one token's step of kernels, a CUDA graph (see `tinyllm.decode_plan`)."""
    return decode.compile_decode(device(), plan)


def parallel_map(f: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]:
    """Return [f(item) for each item]: the GPU is one, and runs one kernel after another."""
    return [f(item) for item in items]
