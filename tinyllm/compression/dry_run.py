"""Which units of a model hang together: its own code is run on their names instead of numbers.

A unit is one index of one axis of a parameter: row 3 of an up_proj, say, which makes feature 3 of
what the layer is given next. A backend that knows of every element which unit it stands for, and
computes nothing, is handed to the decoder; whatever makes two of them meet ties them:

    linear(x, W)     feature j of x, and column j of W; what comes out stands for the rows of W
    x + y, x ⊙ y     element by element
    attention        the features of a key/value head, and of the query heads that read from it:
                     they are summed over, and as long in one head as in all
    mean(x)          nothing: a statistic stands for no unit

So nothing is known here of gates, biases, norms or layouts, and a model that gets new ones needs no
line. A unit that is tied to `STAYS` cannot go: the row of a token, say, or what is shared by many.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinyllm.models.config import DecoderConfig, param_shapes
from tinyllm.models.decoder import decoder_forward
from tinyllm.params import nest

NOBODY, STAYS = -1, 0  # elements that stand for no unit; the unit of all that has to stay
Axis = tuple[str, int]  # of a parameter


class Matrix(NamedTuple):
    """A parameter with two axes, and the units of each."""

    rows: Any  # (D,)
    columns: Any  # (C,)

    @property
    def shape(self) -> tuple[int, int]:
        """As an array has it."""
        return len(self.rows), len(self.columns)


class Units:
    """An array of the dry run: of each element, the unit that it stands for."""

    dtype = np.dtype(np.float64)

    def __init__(self, run: "DryRun", ids: Any) -> None:
        self.run, self.ids = run, ids
        self.shape, self.ndim = ids.shape, ids.ndim

    def __getitem__(self, key: Any) -> "Units":
        return Units(self.run, self.ids[key])

    def __neg__(self) -> "Units":
        return self

    def _meets(self, other: Any) -> "Units":
        return self.run.elementwise(self, other)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _meets
    __truediv__ = __rtruediv__ = __lt__ = __le__ = __gt__ = __ge__ = _meets


class DryRun:
    """A backend that computes nothing, and notes which units meet."""

    name = "dry run"
    float64 = Units.dtype

    def __init__(self) -> None:
        self.count = 1
        self.ties: list[tuple[Any, Any]] = []  # two (N,) each: the first is tied to the second

    def new(self, n: int) -> Any:
        """Return n units that are tied to nothing yet."""
        self.count += n
        return np.arange(self.count - n, self.count)

    def tie(self, a: Any, b: Any) -> None:
        """Tie units, one to one; NOBODY is tied to nobody."""
        a, b = (x.reshape(-1) for x in np.broadcast_arrays(a, b))
        both = (a != NOBODY) & (b != NOBODY)
        self.ties.append((a[both], b[both]))

    def __getattr__(self, name: str) -> Callable[..., Units]:
        """Take any function that is not named below for one that goes element by element."""
        return self.elementwise

    def elementwise(self, *arrays: Any, **options: Any) -> Units:
        """Tie what meets, one to one; an array that meets several elements with each of its own is
        shared by them, and has to stay as long as one of them does."""
        parts = [x for x in arrays if isinstance(x, Units)]
        shape = np.broadcast_shapes(*(x.shape for x in parts))
        result = np.full(shape, NOBODY)
        for part in parts:
            if part.ids.size < result.size:
                self.tie(part.ids, np.asarray(STAYS))
            else:
                self.tie(result, part.ids)
                result = np.where(result == NOBODY, part.ids, result)
        return Units(self, result)

    def asarray(self, x: Any, **options: Any) -> Units:
        """Numbers from the host stand for nothing."""
        return x if isinstance(x, Units) else Units(self, np.full(np.shape(x), NOBODY))

    def mean(self, x: Units, *, axis: int, keepdims: bool) -> Units:
        """A statistic stands for nothing."""
        return Units(self, np.full_like(np.max(x.ids, axis=axis, keepdims=keepdims), NOBODY))

    def linear(self, x: Units, weight: Matrix) -> Units:
        """Tie the features of x to columns; what comes out are rows."""
        self.tie(x.ids, weight.columns)
        return Units(self, np.broadcast_to(weight.rows, (x.shape[0], len(weight.rows))))

    def take(self, x: Matrix, indices: Units, *, axis: int) -> Units:
        """Look rows up: which there are is not for a layer to say."""
        self.tie(x.rows, np.asarray(STAYS))
        return Units(self, np.broadcast_to(x.columns, (*indices.shape, len(x.columns))))

    def attention_forward(
        self,
        q: Units,
        k: Units,
        v: Units,
        bias: Units | None = None,
        *,
        mask: Units | None = None,
        **options: Any,
    ) -> tuple[Units, None]:
        """Tie all of a key/value head and its query heads: q (B, H, T, d), k and v (B, K, T, d).

        Heads that a mask or bias tells apart have to stay: it would be another's if one went.
        """
        B, H, T, d = q.shape
        group = H // k.shape[1]
        for heads in (q.ids.reshape(B, -1, group, T, d), v.ids[:, :, None], k.ids[:, :, None]):
            self.tie(heads, k.ids[:, :, None, :, :1])
        slopes = getattr(mask, "slopes", None) is not None
        if slopes or any(x is not None and x.shape[-3:-2] > (1,) for x in (bias, mask)):
            self.tie(k.ids, np.asarray(STAYS))
        return Units(self, np.repeat(v.ids, group, axis=1)), None

    def reshape(self, x: Units, shape: tuple[int, ...]) -> Units:
        """Move elements; they stand for what they stood for."""
        return Units(self, x.ids.reshape(shape))

    def permute_dims(self, x: Units, axes: tuple[int, ...]) -> Units:
        """Move elements."""
        return Units(self, x.ids.transpose(axes))

    def concat(self, arrays: Sequence[Units], *, axis: int = 0) -> Units:
        """Move elements."""
        return Units(self, np.concatenate([x.ids for x in arrays], axis=axis))

    def stack(self, arrays: Sequence[Units], *, axis: int = 0) -> Units:
        """Move elements."""
        return Units(self, np.stack([x.ids for x in arrays], axis=axis))


def tied_units(config: DecoderConfig) -> tuple[dict[Axis, Any], Any]:
    """Run a decoder on the units of its parameters; return these, and the group of each unit.

    () -> {axis of a parameter: units (n,)}, groups (N,), 0 of those that have to stay

    Units with the same group must go together.
    """
    run: Any = DryRun()
    units = {
        (name, axis): run.new(n)
        for name, shape in param_shapes(config).items()
        for axis, n in enumerate(shape)
    }
    params = {
        name: Matrix(units[name, 0], units[name, 1])
        if len(shape) == 2
        else Units(run, units[name, 0])
        for name, shape in param_shapes(config).items()
    }
    tokens = Units(run, np.full((1, 1), NOBODY))
    logits, _ = decoder_forward(run, tokens, nest(params), config)
    run.tie(logits.ids, np.asarray(STAYS))
    return units, connected(run.count, *map(np.concatenate, zip(*run.ties, strict=True)))


def connected(n: int, a: Any, b: Any) -> Any:
    """Return the lowest number of each one's component: a (N,) and b (N,) are tied -> lowest (n,).

    Every number takes the lowest that its neighbours have, and what that one has in turn, until
    nothing changes.
    """
    lowest = np.arange(n)
    while True:
        new = lowest.copy()
        meeting = np.minimum(lowest[a], lowest[b])
        np.minimum.at(new, a, meeting)
        np.minimum.at(new, b, meeting)
        np.minimum.at(new, lowest, new)
        new = new[new]
        if np.array_equal(new, lowest):
            return lowest
        lowest = new
