"""The groups of units that can go from a model, and the model without some of them.

    block-wise      channels of a feed-forward layer; a key/value head with its query heads
    channel-wise    channels of the residual stream, through all of the model

Which indices of which parameters make a group is found, not listed: see `dry_run`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.compression.dry_run import STAYS, Axis, tied_units
from tinyllm.errors import UsageError
from tinyllm.models.block import blocks_of, with_blocks
from tinyllm.models.config import EMBED_TOKENS, PROJECT_IN, DecoderConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """Groups of one kind: any of them can go, if one stays."""

    members: Mapping[Axis, Any]  # of each axis, the indices that are in each group: (n, width)

    def __len__(self) -> int:
        return len(next(iter(self.members.values())))

    @property
    def where(self) -> str:
        """The module that has them all: "model.layers.3.mlp", or "model"."""
        first, *others = [name.split(".")[:-2] for name, _ in self.members]
        shared = first
        for path in others:
            shared = [a for a, b in zip(shared, path, strict=False) if a == b]
        return ".".join(shared) or "model"

    @property
    def block(self) -> int | None:
        """The block that has them all; None where several do."""
        path = self.where.split(".")
        return int(path[2]) if len(path) > 2 else None


def find_groups(config: DecoderConfig) -> list[Groups]:
    """Return the groups of each kind that a model has.

    Raises UsageError for a model with parts whose groups are not found.
    """
    for part, name in (
        (config.experts, "mixtures of experts"),
        (config.latent, "latent attention"),
    ):
        if part is not None:
            raise UsageError(f"groups of {name} are not known: this is for plain blocks")
    units, group_of = tied_units(config)
    kinds: dict[tuple[int, ...], dict[Axis, Any]] = {}
    for axis, ids in units.items():
        groups = group_of[ids]
        present = tuple(np.unique(groups[groups != STAYS]).tolist())
        if present:
            order = np.argsort(groups, kind="stable")[np.count_nonzero(groups == STAYS) :]
            kinds.setdefault(present, {})[axis] = order.reshape(len(present), -1)
    return [Groups(members=members) for members in kinds.values()]


def without_groups(
    xp: Backend, params: Params, gone: Sequence[tuple[Groups, Sequence[int]]]
) -> Params:
    """Return the parameters without these groups of these kinds."""
    new = dict(params)
    for groups, which in gone:
        for (name, axis), indices in groups.members.items():
            stay = np.setdiff1d(np.arange(params[name].shape[axis]), indices[list(which)])
            new[name] = xp.take(new[name], xp.asarray(stay), axis=axis)
    return new


def config_of(params: Params, config: DecoderConfig) -> DecoderConfig:
    """Return the config with the sizes that these parameters have, which were taken from its own.

    Blocks are listed only where they are not alike.
    """

    def size(i: int, module: str, axis: int) -> int:
        return params[f"model.layers.{i}.{module}.weight"].shape[axis]

    blocks = list(blocks_of(config))
    for i, block in enumerate(blocks):
        if block.n_heads:
            heads = [size(i, f"self_attn.{p}", 0) // config.head_dim for p in ("q_proj", "k_proj")]
            block = replace(block, n_heads=heads[0], n_kv_heads=heads[1])
        if block.d_ff:
            block = replace(block, d_ff=size(i, "mlp.down_proj", 1))
        blocks[i] = block
    width = params[EMBED_TOKENS].shape[1]
    if config.embed_dim is None:
        return with_blocks(replace(config, d_model=width), blocks)
    d_model = params[PROJECT_IN].shape[0]
    return with_blocks(replace(config, d_model=d_model, embed_dim=width), blocks)
