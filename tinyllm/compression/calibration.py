"""What each matrix of a model is given, as a calibration text flows through the blocks.

A block is run, its matrices are changed by what they were given, and it is run again: so the next
block is given what the changed blocks make of the text, and never what the dense ones did (Sun et
al. 2023, arXiv:2306.11695, section 3). In memory are the residual stream of the calibration tokens,
one block, and a few rows of what happens in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Params
from tinyllm.compression.streaming import after_block, embedded, require_decoder
from tinyllm.errors import UsageError
from tinyllm.models.config import DecoderConfig
from tinyllm.params import nest

TOGETHER = 512  # tokens that a worker takes through a block at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Sums over the tokens that one matrix was given: x (N, C), on the host, in float64."""

    count: int  # N
    squares: Any  # Σ x², (C,)
    gram: Any = None  # Σ xᵀx, (C, C), where it was asked for

    @property
    def norms(self) -> Any:
        """‖X_j‖₂ of each input feature j: (C,)."""
        return np.sqrt(self.squares)

    def __add__(self, other: "Moments") -> "Moments":
        gram = None if self.gram is None else self.gram + other.gram
        return Moments(
            count=self.count + other.count, squares=self.squares + other.squares, gram=gram
        )


class Listening:
    """A backend that adds up what its `linear` is given, for each of the weights it is to watch.

    All else it leaves to the backend it stands in for. So whatever a block consists of, no matrix
    is missed, and none needs to be known here.
    """

    def __init__(self, xp: Backend, weights: Params, *, gram: bool) -> None:
        self._xp, self._gram = xp, gram
        self._names = {id(weight): name for name, weight in weights.items()}
        self.heard: dict[str, Moments] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def linear(self, x: Array, weight: Array, /) -> Array:
        """Multiply as the backend does."""
        name = self._names.get(id(weight))
        if name is not None:
            new = self._moments(x)
            self.heard[name] = self.heard[name] + new if name in self.heard else new
        return self._xp.linear(x, weight)

    def _moments(self, x: Array) -> Moments:
        """Sum up some rows: few enough for the precision that they have."""
        xp = self._xp
        sums = [xp.sum(x * x, axis=0), *([x.T @ x] if self._gram else [])]
        squares, *gram = (np.asarray(xp.to_numpy(s), np.float64) for s in sums)
        return Moments(count=x.shape[0], squares=squares, gram=gram[0] if gram else None)


Change = Callable[[int, Params, dict[str, Moments]], Params]


def change_blocks(
    xp: Backend,
    params: Params,
    config: DecoderConfig,
    tokens: Any,
    change: Change,
    *,
    gram: bool = False,
) -> Params:
    """Change block after block by what the text gives to its matrices; return all parameters.

    tokens (B, T)

    `change(index, block, moments)` is given a block's parameters by full name, and the moments of
    its matrices in the model whose earlier blocks have changed and whose later ones have not; there
    are none for an expert that no token was sent to. It returns the block's new parameters.
    """
    require_decoder(config)
    tree, new = nest(params), dict(params)
    rows = max(1, TOGETHER // tokens.shape[1])
    parts = [xp.asarray(tokens[i : i + rows]) for i in range(0, len(tokens), rows)]
    stream = [embedded(xp, part, tree, config) for part in parts]
    for index in range(config.n_layers):
        prefix = f"model.layers.{index}."
        block = {name: x for name, x in params.items() if name.startswith(prefix)}
        moments = _listen(xp, stream, block, config, index, gram=gram)
        changed = change(index, block, moments)
        new |= changed
        layer = layer_of(changed, index)

        def go_on(i: int, layer: dict[str, Any] = layer, index: int = index) -> None:
            stream[i] = after_block(xp, stream[i], layer, config, index)  # one stream in memory

        xp.parallel_map(go_on, range(len(stream)))
    return new


def _listen(
    xp: Backend,
    stream: Sequence[Array],
    block: Params,
    config: DecoderConfig,
    index: int,
    *,
    gram: bool,
) -> dict[str, Moments]:
    """Run a block for what its matrices are given: two halves of the parts, for two workers."""
    matrices = {name: x for name, x in block.items() if x.ndim == 2}
    layer = layer_of(block, index)

    def half(parts: Sequence[Array]) -> dict[str, Moments]:
        listening: Any = Listening(xp, matrices, gram=gram)
        for x in parts:
            after_block(listening, x, layer, config, index)
        return listening.heard

    first, *others = xp.parallel_map(half, [stream[::2], stream[1::2]][: len(stream)])
    for other in others:
        both = {name: first[name] + moments for name, moments in other.items() if name in first}
        first = first | other | both
    return first


def layer_of(block: Params, index: int) -> dict[str, Any]:
    """Return a block's branch of the parameter tree."""
    return nest(block)["model"]["layers"][str(index)]


def calibration_tokens(tokens: Any, seq_len: int, samples: int, *, seed: int) -> Any:
    """Draw windows of a text: tokens (N,) -> windows (B, T), B ≤ `samples`.

    They do not overlap, so that no token counts twice; where the text has fewer of them than asked
    for, all are taken. Raises UsageError where it has none.
    """
    for name, value in (("samples", samples), ("seqlen", seq_len)):
        if value < 1:
            raise UsageError(f"{name} is {value}, expected at least 1")
    spare = len(tokens) - seq_len
    if spare < 0:
        raise UsageError(
            f"the calibration text has {len(tokens)} tokens, and one sample takes {seq_len}: use a "
            f"longer text or a smaller seqlen"
        )
    rng = np.random.default_rng(seed)
    offset = int(rng.integers(min(seq_len, spare + 1)))
    starts = offset + seq_len * rng.permutation((len(tokens) - offset) // seq_len)
    return np.stack([tokens[i : i + seq_len] for i in starts[:samples]]).astype(np.int64)
