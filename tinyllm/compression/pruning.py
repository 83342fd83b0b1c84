"""Prune a model: one table of methods, and the walk through the blocks that all of them share.

Pruned are the matrices of the blocks. Embeddings, the head, norms and biases stay as they are, as
in the papers: they are few, or rare tokens live in them. So does the gate of a mixture,
which sends tokens to experts: it is small, and where it errs a whole expert is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.compression.calibration import Moments, change_blocks
from tinyllm.compression.masks import MATRIX, ROW, Pattern, lowest, pruned
from tinyllm.compression.scores import magnitude_scores, wanda_scores
from tinyllm.compression.sparsegpt import sparsegpt
from tinyllm.compression.streaming import require_decoder
from tinyllm.errors import CheckpointError, UsageError
from tinyllm.models.config import DecoderConfig

Report = Callable[[str], None]
ROUTER = "mlp.gate.weight"  # of a mixture of experts


def _magnitude(weight: Any, moments: Moments | None, pattern: Pattern) -> Any:
    return pruned(weight, lowest(magnitude_scores(weight), pattern))


def _wanda(weight: Any, moments: Moments, pattern: Pattern) -> Any:
    return pruned(weight, lowest(wanda_scores(weight, moments.norms), pattern))


def _sparsegpt(weight: Any, moments: Moments, pattern: Pattern) -> Any:
    return sparsegpt(weight, moments.gram, pattern)


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """One way to prune a matrix, given the moments of what it multiplies."""

    prune: Callable[..., Any]  # weight, moments, pattern -> pruned weight
    calibrates: bool = True
    gram: bool = False
    within: str | None = ROW  # what an unstructured pattern compares, unless told; None: no choice


METHODS = {
    "magnitude": Method(prune=_magnitude, calibrates=False, within=MATRIX),
    "wanda": Method(prune=_wanda),
    "sparsegpt": Method(prune=_sparsegpt, gram=True, within=None),
}


def is_prunable(name: str, x: Any, skip: Sequence[str] = ()) -> bool:
    """Whether a parameter is a matrix of a block, no gate, and no part of its name is in `skip`."""
    named = name.startswith("model.layers.") and not set(skip) & set(name.split("."))
    return named and x.ndim == 2 and not name.endswith(ROUTER)


def prune_params(
    xp: Backend,
    params: Params,
    config: DecoderConfig,
    method: str,
    pattern: Pattern,
    tokens: Any = None,
    *,
    skip: Sequence[str] = (),
    report: Report = lambda line: None,
    done: Callable[[Params], None] = lambda block: None,
) -> Params:
    """Return all parameters, those of the blocks' matrices pruned.

    tokens (B, T)

    `tokens` calibrate; magnitude needs none. Matrices with one of the names in `skip`, "down_proj"
    or "0" say, are left as they are. `report` hears, line by line, how far it is; `done`
    is given the parameters of each block that are not needed any more.
    Raises UsageError where the pattern does not fit, nothing has a name that is skipped, or the
    method needs tokens; CheckpointError for weights that are no numbers.
    """
    chosen = METHODS[method]
    require_decoder(config)
    matrices = {name: x for name, x in params.items() if is_prunable(name, x, skip)}
    _check_skip(skip, params)
    for name, x in matrices.items():
        _check(name, x, pattern)
    if not chosen.calibrates:
        return params | _prune(xp, matrices, {}, chosen, pattern)
    if tokens is None:
        raise UsageError(f"{method} needs a calibration text")

    def change(index: int, block: Params, moments: dict[str, Moments]) -> Params:
        report(f"pruning block {index + 1} of {config.n_layers}")
        old = {name: x for name, x in block.items() if name in matrices}
        new = _prune(xp, old, moments, chosen, pattern)
        done(old)
        return block | new

    return change_blocks(xp, params, config, tokens, change, gram=chosen.gram)


def _check_skip(skip: Sequence[str], params: Params) -> None:
    """Refuse a name that no matrix has: it would be pruned without a word."""
    names = [name.split(".")[2:-1] for name, x in params.items() if is_prunable(name, x)]
    parts = dict.fromkeys(part for name in names for part in name)
    for part in skip:
        if part not in parts:
            words, numbers = ([p for p in parts if p.isdigit() == n] for n in (False, True))
            raise UsageError(
                f"no matrix of a block has {part!r} between the dots of its name, expected one of "
                f"{', '.join(words)}, 0 to {max(map(int, numbers))}"
            )


def _check(name: str, x: Any, pattern: Pattern) -> None:
    """Refuse what does not fit before any work is done."""
    try:
        pattern.group(x.shape)
    except UsageError as error:
        kind = name.split(".")[-2]
        raise UsageError(f"{name}: {error}; --skip {kind} leaves these matrices dense") from error


def _prune(
    xp: Backend, matrices: Params, moments: dict[str, Moments], method: Method, pattern: Pattern
) -> Params:
    def prune_one(name: str) -> Any:
        weight = np.asarray(xp.to_numpy(matrices[name]))
        if not np.isfinite(weight).all():
            raise CheckpointError(f"{name} has weights that are not finite")
        if method.calibrates and name not in moments:
            raise UsageError(f"no token of the calibration text is sent to {name}: give it more")
        if method.calibrates and not np.isfinite(moments[name].squares).all():
            raise CheckpointError(f"what {name} is given is not finite: the model overflows")
        return xp.asarray(method.prune(weight, moments.get(name), pattern))

    names = list(matrices)
    return dict(zip(names, xp.parallel_map(prune_one, names), strict=True))
