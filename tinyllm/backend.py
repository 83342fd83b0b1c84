"""The seam between the mathematics and the machine.

A backend is a module: an array namespace (the part of the Array API standard that tinyllm uses,
which NumPy and CuPy spell alike) and the few functions below that the standard lacks. Every
operation of tinyllm takes one as its first argument, `xp`; nothing is global, so that one program,
or one test, can use two.

To add a backend, add a package beside `backends/tinyllm_numpy` and a case to `get_backend`. The
type checker then names every function that is still missing.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from tinyllm.decode_plan import DecodePlan, DecodeStep
from tinyllm.errors import UsageError

Array: TypeAlias = Any  # an array of the backend in use; docstrings give its shape
Saved: TypeAlias = Any  # what a forward function keeps for its backward function
Params: TypeAlias = dict[str, Array]  # weights, or their gradients, by a checkpoint's names

# In a checkout that was never installed, the backends are not on the path yet.
_CHECKOUT = Path(__file__).resolve().parents[1] / "backends"
if (_CHECKOUT / "tinyllm_numpy").is_dir() and str(_CHECKOUT) not in sys.path:
    sys.path.append(str(_CHECKOUT))


class Backend(Protocol):
    """What tinyllm asks of an array library."""

    name: str
    narrow_products: bool  # whether 16-bit arrays are multiplied as they are, to float32 sums

    # Beyond the Array API standard.

    def to_numpy(self, x: Array, /) -> Any:
        """Copy `x` to the host."""
        ...

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it: before reading a clock."""
        ...

    def free_memory(self) -> int | None:
        """Return the bytes that arrays may still take; None where the system does not say."""
        ...

    def peak_memory(self, call: Callable[[], Any], /) -> int:
        """Make a call; return the most bytes that its arrays took at a time."""
        ...

    def index_add(self, n: int, ids: Array, values: Array, /) -> Array:
        """Add up the rows that share an index: out[i] = Σ values[k] over the k with ids[k] = i.

        ids (N,), values (N, D) -> out (n, D)
        """
        ...

    def add_rows(self, x: Array, ids: Array, values: Array, /) -> Array:
        """Add each of some rows to the row of x that its index names; x is used up.

        x (n, D), ids (N,), values (N, D) -> out (n, D)
        """
        ...

    def top_k(self, x: Array, k: int, /) -> Array:
        """Return where the k largest along the last axis are, the largest first.

        x (..., D) -> ids (..., k)

        Of equals the one that comes first, so that there is one answer.
        """
        ...

    def linear(self, x: Array, weight: Array, /) -> Array:
        """Multiply rows by a matrix stored as checkpoints store it: y = x Wᵀ.

        x (N, C), weight (D, C) -> y (N, D)

        The products of inference and training nearly all pass here, so a backend makes it fast.
        `weight` may be what `pack` returned, or have 16 bits: then it is widened to x's dtype, or,
        with `narrow_products`, x is rounded to as many. y has x's dtype.
        """
        ...

    def pack(self, weights: Sequence[Array], /) -> Any:
        """Stack matrices that multiply the same rows, in the layout that `linear` reads fastest.

        Returns what only `linear` can read; of one matrix perhaps the matrix itself, of several
        None where they are better left apart.
        """
        ...

    def attention_forward(
        self,
        q: Array,
        k: Array,
        v: Array,
        bias: Array | None = None,
        /,
        *,
        mask: Array | None = None,
        scale: float | None = None,
        softcap: float | None = None,
    ) -> tuple[Array, Saved]:
        """Mix values by how well queries match keys: `tinyllm.ops.attention`, or faster.

        `mask` is of truths, or of floats that are added to the scores.
        """
        ...

    def attention_backward(self, dy: Array, saved: Saved, /) -> tuple[Array, Array, Array, Any]:
        """Return dq, dk, dv and dbias of `attention_forward`."""
        ...

    def summed_cross_entropy(
        self, logits: Array, targets: Array, /, *, label_smoothing: float = 0.0, z_loss: float = 0.0
    ) -> tuple[Array, Array]:
        """Return the loss of a batch and its gradient: `tinyllm.ops.losses`, or faster."""
        ...

    def parallel_map(self, f: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]:
        """Return [f(item) for each item], on several cores where that is faster."""
        ...

    def sigmoid(self, x: Array, /) -> Array:
        """The logistic function, 1 / (1 + exp(-x)), without overflow."""
        ...

    def erf(self, x: Array, /) -> Array:
        """The error function, 2/√π ∫₀ˣ exp(-t²) dt, to the precision of x's dtype."""
        ...

    # Of the Array API standard (2023.12): the names in use, so that the type checker knows them.

    inf: float
    pi: float
    bool: Any
    float32: Any
    float64: Any
    int64: Any

    def abs(self, x: Array, /) -> Array: ...
    def any(self, x: Array, /, *, axis: int | None = None) -> Array: ...
    def arange(self, start: int, /, stop: int | None = None, *, dtype: Any = None) -> Array: ...
    def asarray(self, obj: Any, /, *, dtype: Any = None) -> Array: ...
    def astype(self, x: Array, dtype: Any, /) -> Array: ...
    def broadcast_to(self, x: Array, /, shape: tuple[int, ...]) -> Array: ...
    def concat(self, arrays: Sequence[Array], /, *, axis: int = 0) -> Array: ...
    def cos(self, x: Array, /) -> Array: ...
    def exp(self, x: Array, /) -> Array: ...
    def expand_dims(self, x: Array, /, *, axis: int) -> Array: ...
    def log(self, x: Array, /) -> Array: ...
    def matmul(self, x1: Array, x2: Array, /) -> Array: ...
    def max(self, x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array: ...
    def mean(self, x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array: ...
    def ones_like(self, x: Array, /) -> Array: ...
    def permute_dims(self, x: Array, /, axes: tuple[int, ...]) -> Array: ...
    def reshape(self, x: Array, /, shape: tuple[int, ...]) -> Array: ...
    def sin(self, x: Array, /) -> Array: ...
    def sqrt(self, x: Array, /) -> Array: ...
    def stack(self, arrays: Sequence[Array], /, *, axis: int = 0) -> Array: ...
    def sum(self, x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array: ...
    def take(self, x: Array, indices: Array, /, *, axis: int) -> Array: ...
    def tanh(self, x: Array, /) -> Array: ...
    def where(self, condition: Array, x1: Array, x2: Array, /) -> Array: ...
    def zeros(self, shape: tuple[int, ...], *, dtype: Any) -> Array: ...
    def zeros_like(self, x: Array, /) -> Array: ...


class DecodeCompiler(Protocol):
    """What a backend may offer beyond `Backend`: kernels of its own for a model's next token.

    Where it has no such function, or this returns None, the portable code runs.
    """

    def compile_decode(self, plan: DecodePlan, /) -> DecodeStep | None:
        """Make a step that equals the portable code; None where no kernels take such a plan."""
        ...


def get_backend(name: str) -> Backend:
    """Import the backend called `name`: "numpy" or "cupy".

    Raises UsageError for another name, and BackendUnavailableError that says what is missing.

    >>> get_backend("numpy").name
    'numpy'
    """
    match name:
        case "numpy":
            import tinyllm_numpy

            return tinyllm_numpy
        case "cupy":
            import tinyllm_cupy

            return tinyllm_cupy
    raise UsageError(f"no backend is called {name!r}; there are 'numpy' and 'cupy'")
