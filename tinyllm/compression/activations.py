"""How much a model makes use of its heads, neurons and channels: by activations alone.

    head      ‖what it reads‖₂ of each token
    neuron    what enters down_proj: act(x W_up), or act(x W_gate) ⊙ x W_up
    channel   what each norm gives, summed over all norms of the model

Muralidharan et al. 2024, "Compact language models via pruning and knowledge distillation"
(arXiv:2407.14679), section 2.2. First over the tokens of each text (`seq`), then over the texts
(`batch`); best in the paper is the mean of absolute values, then the L2 norm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.compression.streaming import require_decoder
from tinyllm.errors import CheckpointError
from tinyllm.models.block import config_of_block
from tinyllm.models.config import DecoderConfig
from tinyllm.models.stack import stack_forward
from tinyllm.models.trace import ALL_NORMS, trace_names, traced
from tinyllm.params import nest

UNITS = (".self_attn.heads", ".mlp.hidden")
TOGETHER = 512  # tokens in work at once
Aggregate = Callable[[Any, int], Any]  # x, axis -> one number for what is along it
AGGREGATES: dict[str, Aggregate] = {
    "mean": lambda x, axis: np.mean(np.abs(x), axis=axis),
    "l2": lambda x, axis: np.sqrt(np.sum(x * x, axis=axis)),
    "var": lambda x, axis: np.var(x, axis=axis),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """How active each unit is, on the host in float64; heads and neurons by their block."""

    heads: dict[int, Any]  # (H,)
    neurons: dict[int, Any]  # (F,)
    channels: Any  # (D,)


def activity(
    xp: Backend,
    params: Params,
    config: DecoderConfig,
    tokens: Any,
    *,
    batch: str = "l2",
    seq: str = "mean",
) -> Activity:
    """Run texts through a model and put together what its units do: tokens (B, T).

    `batch` and `seq` are rows of AGGREGATES. Raises CheckpointError for activations that are not
    finite.
    """
    require_decoder(config)
    p = nest(params)
    height = max(1, TOGETHER // tokens.shape[1])

    def texts(first: int) -> dict[str, Any]:
        rows = xp.asarray(tokens[first : first + height])
        _, saved = stack_forward(xp, rows, p, config)
        return {
            name: AGGREGATES[seq](_units(xp, x, name, config), 1)
            for name, x in traced(xp, saved, _names(saved)).items()
        }

    parts = xp.parallel_map(texts, range(0, len(tokens), height))
    found = {
        name: AGGREGATES[batch](np.concatenate([part[name] for part in parts]), 0)
        for name in parts[0]
    }
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise CheckpointError(f"what {name} gives is not finite: the model overflows")
    blocks = range(config.n_layers)
    heads = {i: found.get(f"layers.{i}.self_attn.heads") for i in blocks}
    neurons = {i: found.get(f"layers.{i}.mlp.hidden") for i in blocks}
    norms = [values for name, values in found.items() if not name.endswith(UNITS)]
    return Activity(
        heads={i: x for i, x in heads.items() if x is not None},
        neurons={i: x for i, x in neurons.items() if x is not None},
        channels=np.sum(norms, axis=0),
    )


def _names(saved: Any) -> list[str]:
    """Return the names of units, and of what each norm gives, which may be the first vectors."""
    around = {"embed_tokens": saved["config"].embedding_norm, "norm": saved["norm"] is not None}
    return [
        name for name in trace_names(saved)
        if name.endswith(UNITS) or name.rpartition(".")[2] in ALL_NORMS or around.get(name)
    ]  # fmt: skip


def _units(xp: Backend, x: Any, name: str, config: DecoderConfig) -> Any:
    """Return one number for each unit, on the host: x (B, T, …) -> y (B, T, units)."""
    y = np.asarray(xp.to_numpy(x), np.float64)
    if not name.endswith(".heads"):
        return y
    heads = config_of_block(config, int(name.split(".")[1])).n_heads
    return np.linalg.norm(y.reshape(*y.shape[:2], heads, -1), axis=-1)
