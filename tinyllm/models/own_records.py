"""What files of our own hold as objects: experts, latent attention, and blocks that are not alike.

"experts": {"n_experts": 8, "k": 2, "d_ff": 64, "renormalise": true}
"latent": {"q_rank": null, "kv_rank": 32, "nope_dim": 16, "v_dim": 16}
"blocks": [{"layout": "pre", "n_heads": 8, "n_kv_heads": 4, "d_ff": 172}, {"layout": "linear"}]
"""

from dataclasses import asdict
from typing import Any

from tinyllm.checkpoints.sizes import LARGEST, Sizes
from tinyllm.errors import ConfigError
from tinyllm.key_reader import KeyReader
from tinyllm.models.block import Block
from tinyllm.models.experts import Experts
from tinyllm.models.latent import Latent
from tinyllm.models.layouts import HALVED, LINEAR, PARTIAL, layout_of_block
from tinyllm.ops.routing import Routing
from tinyllm.shown import shown

MOST_EXPERTS = 4096  # more would be a damaged file
ALIBI = ("alibi", "falcon_alibi")  # each head has its own slope
WITHOUT = ("qkv_bias", "o_bias", "qk_norm", "qkv_clip", "attention_scale", "attention_softcap")


def read_experts(config: KeyReader, sizes: Sizes) -> Experts | None:
    """Read what the config says of experts. Raises ConfigError for what cannot be."""
    keys = _branch(config, "experts")
    if keys is None:
        return None
    n_experts = keys.integer("n_experts", 1, MOST_EXPERTS)
    groups = keys.integer("groups", 1, n_experts, default=1)
    if n_experts % groups:
        raise keys.error("groups", f"expected a divisor of {n_experts} experts")
    kept = keys.integer("groups_kept", 1, groups, default=groups)
    experts = Experts(
        n_experts=n_experts,
        d_ff=keys.integer("d_ff", 1, LARGEST),
        shared_d_ff=keys.integer("shared_d_ff", 0, LARGEST, default=0),
        first=keys.integer("first", 0, sizes.n_layers, default=0),
        routing=Routing(
            k=keys.integer("k", 1, kept * (n_experts // groups)),
            renormalise=keys.boolean("renormalise", True),
            scale=keys.number("scale", 1e-6, 1e6, default=1.0),
            groups=groups,
            groups_kept=kept,
            capacity=keys.number("capacity", 1e-6, 1e6, default=None),
        ),
    )
    keys.refuse_unread()
    return experts


def write_experts(experts: Experts | None) -> dict[str, Any] | None:
    """Write the same: the fields of the record, and of its routing beside them."""
    if experts is None:
        return None
    written = asdict(experts)
    return written | written.pop("routing")


def read_latent(config: KeyReader) -> Latent | None:
    """Read what the config says of latent attention. Raises ConfigError for what cannot be."""
    keys = _branch(config, "latent")
    if keys is None:
        return None
    if config.get("positions") != "rope":
        raise config.error("positions", "latent attention rotates a part of every key")
    for key in WITHOUT:
        if config.get(key):
            raise config.error(key, "latent attention has no such thing")
    latent = Latent(
        q_rank=keys.integer("q_rank", 1, LARGEST, default=None),
        kv_rank=keys.integer("kv_rank", 1, LARGEST),
        nope_dim=keys.integer("nope_dim", 1, LARGEST),
        v_dim=keys.integer("v_dim", 1, LARGEST),
        mscale=keys.number("mscale", 0.0, 1e6, default=0.0),
    )
    keys.refuse_unread()
    return latent


def write_latent(latent: Latent | None) -> dict[str, Any] | None:
    """Write the same."""
    return None if latent is None else asdict(latent)


def read_blocks(config: KeyReader, sizes: Sizes) -> tuple[Block, ...] | None:
    """Read what the config says of its blocks, one by one. Raises ConfigError for what cannot be.

    Sizes that a block does not give are the model's.
    """
    listed = config.get("blocks")
    if listed is None:
        return None
    if not isinstance(listed, list) or len(listed) != sizes.n_layers:
        raise config.error("blocks", f"expected an object for each of {sizes.n_layers} layers")
    if config.get("latent"):
        raise config.error("latent", "blocks that are not alike cannot have it")
    return tuple(_read_block(config, values, i, sizes) for i, values in enumerate(listed))


def _read_block(config: KeyReader, values: Any, index: int, sizes: Sizes) -> Block:
    where = f"{config.where}: blocks[{index}]"
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {shown(values)}; expected an object")
    keys, whole = KeyReader(values, where), config.get("layout") or "pre"
    layout = keys.string("layout", (whole, *(PARTIAL if whole in HALVED else [LINEAR])), whole)
    sublayers = layout_of_block(layout).sublayers
    numbers = {}
    if "self_attn" in sublayers:
        numbers["n_heads"] = keys.integer("n_heads", 1, LARGEST, sizes.n_heads)
        numbers["n_kv_heads"] = keys.integer("n_kv_heads", 1, LARGEST, sizes.n_kv_heads)
        if numbers["n_heads"] % numbers["n_kv_heads"]:
            raise keys.error("n_kv_heads", f"expected a divisor of {numbers['n_heads']} heads")
        if config.get("positions") in ALIBI and numbers["n_heads"] != sizes.n_heads:
            raise keys.error("n_heads", f"with ALiBi, expected {sizes.n_heads} in every block")
    if "mlp" in sublayers:
        numbers["d_ff"] = keys.integer("d_ff", 1, LARGEST, sizes.d_ff)
    keys.refuse_unread()
    return Block(layout=layout, **numbers)


def write_blocks(blocks: tuple[Block, ...] | None) -> list[dict[str, Any]] | None:
    """Write the same: of each block the sizes that it has."""
    if blocks is None:
        return None
    return [{key: value for key, value in asdict(block).items() if value} for block in blocks]


def _branch(config: KeyReader, key: str) -> KeyReader | None:
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise config.error(key, "expected an object")
    return KeyReader(value, f"{config.where}: {key}")
