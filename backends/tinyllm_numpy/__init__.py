"""The NumPy backend: runs everywhere, and is what the other backends are tested against."""

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

from tinyllm_numpy.erf import erf

# fmt: off
__all__ = [
    "abs", "any", "arange", "asarray", "astype", "bool", "broadcast_to", "concat", "cos", "erf",
    "exp", "expand_dims", "float32", "float64", "index_add", "inf", "int64", "linear", "log",
    "matmul", "max", "mean", "name", "ones_like", "permute_dims", "pi", "reshape", "sin", "sqrt",
    "stack", "sum", "synchronize", "take", "tanh", "to_numpy", "where", "zeros", "zeros_like",
]
# fmt: on

name = "numpy"


def to_numpy(x: Any, /) -> Any:
    """Return `x`, which is on the host already."""
    return x


def synchronize() -> None:
    """Do nothing: NumPy has finished when it returns."""


def index_add(n: int, ids: Any, values: Any, /) -> Any:
    """Add up the rows that share an index (see `tinyllm.backend.Backend`)."""
    out = np.zeros((n, values.shape[-1]), dtype=values.dtype)
    np.add.at(out, ids, values)
    return out


def linear(x: Any, weight: Any, /) -> Any:
    """Multiply rows by a stored matrix, y = x Wᵀ (see `tinyllm.backend.Backend`)."""
    return x @ weight.T
