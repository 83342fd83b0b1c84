"""Compare what a model needs with what a file has, before any of it is read."""

import difflib
import re
from collections.abc import Collection, Mapping

import ml_dtypes
import numpy as np

from tinyllm.errors import CheckpointError
from tinyllm.shown import shown

FLOATS = {np.dtype(kind) for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)}
SHOWN = 5  # of each kind of problem


def check_plan(
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, np.ndarray],
    where: str,
    ignore: Collection[str] = (),
) -> None:
    """Check that `tensors` are those of `shapes`: the same names, the same shapes, floating dtypes.

    A name that ends with one of `ignore` may be there or not: a buffer that old files hold, say.

    Raises one CheckpointError with everything that does not fit, the first five of each kind.
    """
    missing = [name for name in shapes if name not in tensors]
    extra = [n for n in tensors if n not in shapes and not n.endswith(tuple(ignore))]
    common = [(name, tensors[name]) for name in shapes if name in tensors]
    problems = [
        _list("missing", [_missing(name, extra) for name in missing[:SHOWN]], len(missing)),
        _list("unexpected", [shown(name) for name in extra[:SHOWN]], len(extra)),
        _some("of another shape", [(n, x, shapes[n]) for n, x in common if x.shape != shapes[n]]),
        _some("of another kind", [(n, x, None) for n, x in common if x.dtype not in FLOATS]),
    ]
    if any(problems):
        raise CheckpointError(
            f"{where} does not fit its config of {len(shapes)} tensors: "
            + "; ".join(problem for problem in problems if problem)
        )


def _list(what: str, items: list[str], count: int) -> str:
    more = ", …" if count > len(items) else ""
    return f"{count} {what}: {', '.join(items)}{more}" if count else ""


def _some(what: str, misfits: list[tuple[str, np.ndarray, tuple[int, ...] | None]]) -> str:
    return _list(what, [_misfit(*misfit) for misfit in misfits[:SHOWN]], len(misfits))


def _misfit(name: str, tensor: np.ndarray, shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return f"{shown(name)} has dtype {tensor.dtype}, expected F64, F32, F16 or BF16"
    transposed = " (it is transposed)" if tensor.shape == shape[::-1] else ""
    return f"{shown(name)} has shape {shown(tensor.shape)}, expected {shown(shape)}{transposed}"


def _missing(name: str, extra: list[str]) -> str:
    """The missing name, and the name in the file that may stand for it: of the same layer."""
    numbers = re.findall(r"[0-9]+", name)
    same_layer = [n for n in extra if len(n) < 200 and re.findall(r"[0-9]+", n) == numbers]
    near = difflib.get_close_matches(name, same_layer[:100], n=1)
    return shown(name) + (f" (there is {shown(near[0])})" if near else "")
