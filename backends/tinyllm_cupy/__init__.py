"""The CuPy backend: the same arrays on an NVIDIA GPU."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from tinyllm.errors import BackendUnavailableError
from tinyllm.ops import attention as formula
from tinyllm.ops import losses

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
        matmul,
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
        where,
        zeros,
        zeros_like,
    )
    from cupy import bool_ as bool
    from cupyx.scipy.special import erf
    from cupyx.scipy.special import expit as sigmoid
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

# fmt: off
__all__ = [
    "abs", "add_rows", "any", "arange", "asarray", "astype", "attention_backward",
    "attention_forward", "bool", "broadcast_to", "concat", "cos", "erf", "exp", "expand_dims",
    "float32", "float64", "index_add",
    "inf", "int64", "linear", "log", "matmul", "max", "mean", "name", "ones_like", "pack",
    "parallel_map", "permute_dims", "pi", "reshape", "sigmoid", "sin", "sqrt", "stack", "sum",
    "summed_cross_entropy", "synchronize", "take", "tanh", "to_numpy", "top_k", "where",
    "zeros", "zeros_like",
]
# fmt: on

name = "cupy"


def to_numpy(x: Any, /) -> Any:
    """Copy `x` to the host; waits for the GPU."""
    return cp.asnumpy(x)


def synchronize() -> None:
    """Wait until the GPU has run every kernel that was launched."""
    cp.cuda.get_current_stream().synchronize()


def index_add(n: int, ids: Any, values: Any, /) -> Any:
    """Add up the rows that share an index (see `tinyllm.backend.Backend`).

    Float atomics: the order of the additions, so the last digits, differ from run to run.
    """
    out = cp.zeros((n, values.shape[-1]), dtype=values.dtype)
    cp.add.at(out, ids, values)
    return out


def add_rows(x: Any, ids: Any, values: Any, /) -> Any:
    """Add rows to those that indices name, in place (see `tinyllm.backend.Backend`)."""
    x += index_add(x.shape[0], ids, values)
    return x


def top_k(x: Any, k: int, /) -> Any:
    """Return where the k largest of each row are: CuPy's sort keeps the order of equals."""
    return cp.argsort(-x, axis=-1)[..., :k]


def linear(x: Any, weight: Any, /) -> Any:
    """Multiply rows by a stored matrix, y = x Wᵀ (see `tinyllm.backend.Backend`)."""
    return x @ weight.T


def pack(weights: Sequence[Any], /) -> Any:
    """Return a single matrix as it is, and leave several apart."""
    return weights[0] if len(weights) == 1 else None


def attention_forward(
    q: Any, k: Any, v: Any, bias: Any = None, /, **options: Any
) -> tuple[Any, Any]:
    """Mix values by how well queries match keys, by the formula."""
    return formula.attention_forward(sys.modules[__name__], q, k, v, bias, **options)


def attention_backward(dy: Any, saved: Any, /) -> tuple[Any, Any, Any, Any]:
    """Return the gradients of `attention_forward`, dq, dk, dv and dbias."""
    return formula.attention_backward(sys.modules[__name__], dy, saved)


def summed_cross_entropy(logits: Any, targets: Any, /, **options: float) -> tuple[Any, Any]:
    """Return the loss of a batch and its gradient, by the formula."""
    return losses.summed_cross_entropy(sys.modules[__name__], logits, targets, **options)


def parallel_map(f: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]:
    """Return [f(item) for each item]: the GPU is one, and runs one kernel after another."""
    return [f(item) for item in items]
