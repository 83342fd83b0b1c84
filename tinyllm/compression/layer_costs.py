"""What each block is worth to a model: the loss without it, and how far it turns its tokens."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.compression.depth import remove_layers, residual_streams
from tinyllm.compression.linearity import block_influence
from tinyllm.errors import UsageError
from tinyllm.models.config import DecoderConfig
from tinyllm.models.decoder import logits_forward
from tinyllm.models.stack import hidden_states
from tinyllm.ops.losses import summed_cross_entropy
from tinyllm.params import nest

PERPLEXITY, INFLUENCE = "perplexity", "influence"
TOGETHER = 2048  # tokens in work at once


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockCost:
    """One block: nats of a token that the model loses without it, and its influence."""

    nats: float
    influence: float


def mean_nats(xp: Backend, params: Params, config: DecoderConfig, tokens: Any) -> float:
    """Return the mean cross-entropy of every token but the first of each text: tokens (B, T)."""
    p, height = nest(params), max(1, TOGETHER // tokens.shape[1])

    def nats(first: int) -> float:
        rows = xp.asarray(tokens[first : first + height])
        hidden = hidden_states(xp, rows[:, :-1], p, config)
        logits, _ = logits_forward(xp, hidden, p, config)
        return float(summed_cross_entropy(xp, logits, rows[:, 1:])[0])

    total = sum(xp.parallel_map(nats, range(0, len(tokens), height)))
    return total / (tokens.size - len(tokens))


def block_costs(xp: Backend, params: Params, config: DecoderConfig, tokens: Any) -> list[BlockCost]:
    """Measure every block on a text: tokens (B, T).

    The first is what Muralidharan et al. 2024 (arXiv:2407.14679), section 2.2, rank depth by, the
    second Men et al. 2024 (arXiv:2403.03853). A model of one block cannot be without it: the first
    is then infinite.
    """
    if tokens.shape[1] < 2:
        raise UsageError("samples of one token have no next one: seqlen must be at least 2")
    dense, costs = mean_nats(xp, params, config, tokens), []
    for i, influence in enumerate(influences(xp, params, config, tokens)):
        without = math.inf
        if config.n_layers > 1:
            without = mean_nats(xp, *remove_layers(params, config, [i]), tokens)
        costs.append(BlockCost(nats=without - dense, influence=influence))
    return costs


def influences(xp: Backend, params: Params, config: DecoderConfig, tokens: Any) -> list[float]:
    """Return the influence of every block: tokens (B, T). See `linearity.block_influence`."""
    p, height = nest(params), max(1, TOGETHER // tokens.shape[1])

    def part(first: int) -> list[float]:
        rows, found = tokens[first : first + height], []
        before = None
        for stream in residual_streams(xp, p, config, rows):
            after = np.asarray(xp.to_numpy(stream), np.float64).reshape(-1, config.d_model)
            if before is not None:
                found.append(len(rows) * block_influence(before, after))
            before = after
        return found

    parts = xp.parallel_map(part, range(0, len(tokens), height))
    return [sum(of_block) / len(tokens) for of_block in zip(*parts, strict=True)]


def cheapest(costs: list[BlockCost], by: str, count: int) -> list[int]:
    """Return the `count` blocks that are worth least, in the order of the model."""
    key = {PERPLEXITY: lambda i: costs[i].nats, INFLUENCE: lambda i: costs[i].influence}[by]
    return sorted(sorted(range(len(costs)), key=key)[:count])
