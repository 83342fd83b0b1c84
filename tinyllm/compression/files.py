"""A pruned model as files: in the dtypes and by the names of the files it came from."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tinyllm.backend import Params, get_backend
from tinyllm.checkpoints import release
from tinyllm.compression.depth import BlockFacts, Maps, remove_layers, replace_layers
from tinyllm.compression.groups import config_of, find_groups, without_groups
from tinyllm.compression.layer_costs import BlockCost
from tinyllm.compression.llm_pruner import Gone
from tinyllm.compression.pruning import is_prunable
from tinyllm.errors import ConfigError
from tinyllm.models.config import DecoderConfig
from tinyllm.models.config_json import write_config_json
from tinyllm.models.cost import count_parameters
from tinyllm.models.families import OWN
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
    tensors: Tensors,
    config: DecoderConfig,
    blocks: list[BlockFacts],
    removed: list[int],
    maps: Maps,
) -> tuple[Facts, Tensors, Facts]:
    """Return config.json, the tensors that stay, and what was removed and why.

    The blocks that `maps` has are not removed but linear.
    """
    change = replace_layers(tensors, config, maps) if maps else None
    stay, smaller = change or remove_layers(tensors, config, removed)
    facts = {"removed": removed, "linear": bool(maps), "blocks": [asdict(b) for b in blocks]}
    return _resized(stay, config, smaller, facts)


def without(tensors: Tensors, config: DecoderConfig, gone: Gone) -> tuple[Facts, Tensors, Facts]:
    """Return config.json, the tensors without these groups, and how many went from where."""
    stay = without_groups(get_backend("numpy"), tensors, gone)
    removed = {kind.where: len(which) for kind, which in gone}
    per_block = {kind.block is None for kind, _ in gone}
    groups = []
    for kind in find_groups(config):  # those of blocks that stay whole, too
        if (kind.block is None) in per_block:
            n, went = len(kind), removed.get(kind.where, 0)
            row = {"where": kind.where, "groups": n, "removed": went, "sparsity": went / n}
            groups.append(row)
    return _resized(stay, config, config_of(stay, config), {"groups": groups})


def sliced(
    tensors: Tensors,
    config: DecoderConfig,
    gone: Gone,
    removed: list[int],
    costs: list[BlockCost],
) -> tuple[Facts, Tensors, Facts]:
    """Return config.json, the tensors without these units and blocks, and what went from where."""
    narrower = without_groups(get_backend("numpy"), tensors, gone)
    middle = config_of(narrower, config)
    stay, smaller = remove_layers(narrower, middle, removed)
    groups = [
        {
            "where": kind.where,
            "groups": len(kind),
            "removed": len(which),
            "sparsity": len(which) / len(kind),
        }
        for kind, which in gone
    ]
    facts: Facts = {"groups": groups} if gone else {}
    if removed or costs:
        facts |= {"removed": removed, "linear": False}
    if costs:
        facts["blocks"] = [asdict(cost) for cost in costs]
    return _resized(stay, config, smaller, facts)


def _resized(
    tensors: Tensors, before: DecoderConfig, after: DecoderConfig, facts: Facts
) -> tuple[Facts, Tensors, Facts]:
    """Return config.json, the tensors by the names of their files, and the facts of both sizes.

    What the files of the model's own family cannot say is told in one of tinyllm's.
    """
    dtype = str(next(iter(tensors.values())).dtype)
    try:
        written = write_config_json(after, dtype)
    except ConfigError:
        after = replace(after, family=OWN)
        written = write_config_json(after, dtype)
    facts |= {
        "family": after.family,
        "whole_heads": after.d_model % after.n_heads == 0,
        "parameters": {"before": count_parameters(before), "after": count_parameters(after)},
    }
    return written, stored_tensors(tensors, after), facts
