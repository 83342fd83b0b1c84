"""Change all parameters by one rule: in blocks that a core's cache holds, on all cores.

A rule of an optimiser is a dozen passes over the same numbers. Over a whole matrix each pass would
come from memory; over a block of rows only the first does.
"""

import math
from collections.abc import Callable
from typing import Any

from tinyllm.backend import Array, Backend, Params

BLOCK = 2**16  # numbers; twice as fast for 15M parameters as whole matrices, half or double is not


def by_blocks(xp: Backend, rule: Callable[..., Array], params: Params, *others: Params) -> Params:
    """Return {name: rule(p, *o)} for the arrays p of `params` and o of the same name in `others`.

    A rule works number by number, so that it may be given some rows at a time. It may write into
    the others where its caller may.
    """
    new = {name: xp.zeros(p.shape, dtype=p.dtype) for name, p in params.items()}

    def change(block: tuple[str, Any]) -> None:
        name, rows = block
        new[name][rows] = rule(params[name][rows], *(other[name][rows] for other in others))

    xp.parallel_map(change, [(name, rows) for name in params for rows in rows_of(xp, params[name])])
    return new


def rows_of(xp: Backend, x: Array) -> list[Any]:
    """Cut an array along its first axis into blocks, as indices; a device needs no small blocks."""
    size = math.prod(x.shape)
    if xp.name == "cupy" or size <= BLOCK:
        return [...]
    step = max(1, BLOCK * x.shape[0] // size)
    return [(slice(i, i + step), ...) for i in range(0, x.shape[0], step)]
