"""A pruned model as files: in the dtypes and by the names of the files it came from."""

from dataclasses import asdict
from typing import Any

import numpy as np

from tinyllm.backend import Params
from tinyllm.checkpoints import release
from tinyllm.compression.depth import BlockFacts, remove_layers
from tinyllm.compression.pruning import is_prunable
from tinyllm.models.architecture import architecture
from tinyllm.models.config import DecoderConfig
from tinyllm.models.cost import count_parameters
from tinyllm.models.weights import stored_tensors

Facts = dict[str, Any]
Tensors = dict[str, Any]


def as_stored(tensors: Tensors, before: Params, after: Params) -> Tensors:
    """Return what goes into the new file, all arrays on the host; `after` gives its arrays up.

    Weights get the dtype that they had in the file, and those that are the same after as before
    keep its very bytes.
    """
    new = {}
    for name, tensor in tensors.items():
        old, now = before[name], after.pop(name)
        if now is old:
            new[name] = tensor
        elif now.dtype == tensor.dtype:
            new[name] = now
        else:
            new[name] = np.where(now == old, tensor, now.astype(tensor.dtype))
    return new


def zeros_of(tensors: Tensors) -> dict[str, tuple[int, int]]:
    """Count the zeros of each matrix of a block: name -> (zeros, weights)."""
    counts = {}
    for name, x in tensors.items():
        if is_prunable(name, x):
            counts[name] = (x.size - int(np.count_nonzero(x)), x.size)
            release(x)
    return counts


def share(zeros: dict[str, tuple[int, int]]) -> float:
    """Return which part of all the weights is zero."""
    return sum(n for n, _ in zeros.values()) / sum(size for _, size in zeros.values())


def sparsity_facts(tensors: Tensors) -> Facts:
    """Return the sparsity of all matrices together, and exactly of each."""
    zeros = zeros_of(tensors)
    return {
        "zeros": sum(count for count, _ in zeros.values()),
        "weights": sum(size for _, size in zeros.values()),
        "sparsity": share(zeros),
        "matrices": [
            {
                "name": name,
                "shape": list(tensors[name].shape),
                "zeros": count,
                "weights": size,
                "sparsity": count / size,
            }
            for name, (count, size) in zeros.items()
        ],
    }


def without_blocks(
    tensors: Tensors, config: DecoderConfig, blocks: list[BlockFacts], removed: list[int]
) -> tuple[Facts, Tensors, Facts]:
    """Return config.json, the tensors that stay, and what was removed and why."""
    stay, smaller = remove_layers(tensors, config, removed)
    dtype = str(next(iter(stay.values())).dtype)
    facts = {
        "removed": removed,
        "blocks": [asdict(block) for block in blocks],
        "parameters": {"before": count_parameters(config), "after": count_parameters(smaller)},
    }
    config_json = architecture(smaller).write_config(smaller, dtype)
    return config_json, stored_tensors(stay, smaller), facts
