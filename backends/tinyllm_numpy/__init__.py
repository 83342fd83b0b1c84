"""The NumPy backend: runs everywhere, and is what the other backends are tested against."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import (
    abs,
    any,
    arange,
    asarray,
    astype,
    bool,
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
    ones_like,
    pi,
    sin,
    sqrt,
    stack,
    take,
    tanh,
    where,
    zeros,
    zeros_like,
)

from tinyllm import memory
from tinyllm_numpy.attention import tiled_backward as attention_backward
from tinyllm_numpy.attention import tiled_forward as attention_forward
from tinyllm_numpy.erf import erf
from tinyllm_numpy.losses import summed_cross_entropy
from tinyllm_numpy.products import linear, pack
from tinyllm_numpy.threads import parallel_map

# fmt: off
__all__ = [
    "abs", "add_rows", "any", "arange", "asarray", "astype", "attention_backward",
    "attention_forward", "bool", "broadcast_to", "concat", "cos", "erf", "exp", "expand_dims",
    "float32", "float64", "free_memory", "index_add", "inf", "int64", "linear", "log", "matmul",
    "max", "mean", "name", "narrow_products", "ones_like", "pack", "parallel_map", "peak_memory",
    "permute_dims", "pi", "reshape", "sigmoid", "sin", "sqrt", "stack", "sum",
    "summed_cross_entropy", "synchronize", "take", "tanh", "to_numpy", "top_k", "where", "zeros",
    "zeros_like",
]
# fmt: on

name = "numpy"
narrow_products = False


# NumPy's own functions of these names take microseconds to find out what these lines know.


def reshape(x: Any, /, shape: tuple[int, ...]) -> Any:
    """Return the same numbers in another shape."""
    return x.reshape(shape)


def permute_dims(x: Any, /, axes: tuple[int, ...]) -> Any:
    """Return the array with its axes in another order."""
    return x.transpose(axes)


def sum(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Add up along an axis, several, or all."""
    return np.add.reduce(x, axis=axis, keepdims=keepdims)


def max(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Return the largest along an axis, or of all."""
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims)


def mean(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Return the mean along an axis, or of all."""
    total = np.add.reduce(x, axis=axis, keepdims=keepdims)
    return total / (x.size if axis is None else x.shape[axis])


def to_numpy(x: Any, /) -> Any:
    """Return `x`, which is on the host already."""
    return x


def synchronize() -> None:
    """Do nothing: NumPy has finished when it returns."""


def free_memory() -> int | None:
    """Return what is left for this process (see `tinyllm.memory`)."""
    return memory.available_memory()


def peak_memory(call: Callable[[], Any], /) -> int:
    """Make a call; return the most bytes that Python and NumPy took for it at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def index_add(n: int, ids: Any, values: Any, /) -> Any:
    """Add up the rows that share an index (see `tinyllm.backend.Backend`).

    Pages of zeros that no row is added to take no memory.
    """
    return add_rows(np.zeros((n, values.shape[-1]), dtype=values.dtype), ids, values)


def add_rows(x: Any, ids: Any, values: Any, /) -> Any:
    """Add rows to those that indices name, in place (see `tinyllm.backend.Backend`).

    Number by number: NumPy has a fast loop for one axis, four times as fast as that for rows.
    """
    x = np.ascontiguousarray(x)
    places = ids[:, None] * x.shape[1] + np.arange(x.shape[1])
    np.add.at(x.reshape(-1), places.reshape(-1), values.reshape(-1))
    return x


def top_k(x: Any, k: int, /) -> Any:
    """Return where the k largest of each row are (see `tinyllm.backend.Backend`)."""
    return np.argsort(-x, axis=-1, kind="stable")[..., :k]


def sigmoid(x: Any, /) -> Any:
    """1 / (1 + exp(-x)), in one array; where exp(-x) is infinite the result is 0."""
    with np.errstate(over="ignore"):
        y = np.exp(-x)
    y += 1.0
    return np.reciprocal(y, out=y)
