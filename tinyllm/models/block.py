"""What each block of a model is, where they are not all alike: pruning leaves such models."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tinyllm.models.config import StackConfig

Config = TypeVar("Config", bound="StackConfig")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One block: its layout, and the sizes of what that has; 0 of what it has not."""

    layout: str  # the model's, or a row of `layouts.PARTIAL`
    n_heads: int = 0
    n_kv_heads: int = 0
    d_ff: int = 0


def config_of_block(config: Config, index: int) -> Config:
    """Return the config of a model in which all blocks are as this one is in `config`."""
    if config.blocks is None:
        return config
    return replace(config, blocks=None, **asdict(config.blocks[index]))


def blocks_of(config: "StackConfig") -> list[Block]:
    """Return what each block is, alike or not."""
    if config.blocks is not None:
        return list(config.blocks)
    alike = Block(
        layout=config.layout, n_heads=config.n_heads, n_kv_heads=config.n_kv_heads,
        d_ff=config.d_ff,
    )  # fmt: skip
    return [alike] * config.n_layers


def with_blocks(config: Config, blocks: Sequence[Block]) -> Config:
    """Return the config with these blocks, which are listed only where they are not alike."""
    first = blocks[0]
    if first.layout == config.layout and all(block == first for block in blocks):
        return replace(config, blocks=None, **asdict(first))
    return replace(config, blocks=tuple(blocks))
