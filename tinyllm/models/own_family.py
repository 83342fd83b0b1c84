"""The family "tinyllm": decoders that were trained here, with any choice that a config can hold.

No other program knows its name, so none takes such a model for a Llama. What is shaped like a Llama
had better be saved as one.
"""

from dataclasses import replace
from typing import Any

from tinyllm.checkpoints.sizes import LARGEST, Sizes
from tinyllm.key_reader import KeyReader
from tinyllm.layers.norms import NORMS
from tinyllm.models.config import DecoderConfig
from tinyllm.models.feed_forward import FEED_FORWARDS
from tinyllm.models.layouts import LAYOUTS
from tinyllm.models.own_records import (
    read_blocks,
    read_experts,
    read_latent,
    write_blocks,
    write_experts,
    write_latent,
)
from tinyllm.models.positions import WITHOUT_NUMBERS, Learned, Positions, way_of
from tinyllm.models.rope_json import read_rope, write_rope

WINDOW = range(1, 2**31)  # tokens
YES_OR_NO = ("qkv_bias", "o_bias", "mlp_bias", "qk_norm", "embedding_norm")
LIMITS = ("attention_scale", "attention_softcap", "qkv_clip", "logit_softcap")  # or none
NAMES = {"layout": tuple(LAYOUTS), "norm": tuple(NORMS), "mlp": tuple(FEED_FORWARDS)}
AS_LLAMA = {"layout": "pre", "norm": "rmsnorm", "mlp": "swiglu"}


def read_own(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Read the fields of DecoderConfig by their names, and what belongs to RoPE by everyone's."""
    if keys.get("hidden_act") not in ("silu", None):
        raise keys.error("hidden_act", "this family's activation is told by mlp")
    return {
        **{key: keys.string(key, names, AS_LLAMA[key]) for key, names in NAMES.items()},
        **{key: keys.number(key, 1e-6, 1e6, default=None) for key in LIMITS},
        "positions": _read_positions(keys, sizes),
        "experts": read_experts(keys, sizes),
        "latent": read_latent(keys),
        "blocks": read_blocks(keys, sizes),
        "windows": _read_windows(keys, sizes.n_layers),
        "embed_dim": keys.integer("embed_dim", 1, LARGEST, default=None),
        "embedding_scale": keys.number("embedding_scale", 1e-6, 1e6, default=1.0),
        **{key: keys.boolean(key, False) for key in YES_OR_NO},
    }


def write_own(config: DecoderConfig) -> dict[str, Any]:
    """Write the same."""
    return {
        **{key: getattr(config, key) for key in (*NAMES, *LIMITS)},
        "positions": way_of(config.positions).name,
        **write_rope(config.positions),
        **_write_offset(config.positions),
        "experts": write_experts(config.experts),
        "latent": write_latent(config.latent),
        "blocks": write_blocks(config.blocks),
        "windows": list(config.windows),
        "embed_dim": config.embed_dim,
        "embedding_scale": config.embedding_scale,
        **{key: getattr(config, key) for key in YES_OR_NO},
    }


def _read_positions(keys: KeyReader, sizes: Sizes) -> Positions:
    name = keys.string("positions", ("rope", *WITHOUT_NUMBERS))
    if name == "rope":
        return read_rope(keys, sizes, partial=True)
    positions = WITHOUT_NUMBERS[name]
    if isinstance(positions, Learned):
        return replace(positions, offset=keys.integer("position_offset", 0, 2**16, default=0))
    return positions


def _write_offset(positions: Positions) -> dict[str, Any]:
    offset = positions.offset if isinstance(positions, Learned) else 0
    return {"position_offset": offset} if offset else {}


def _read_windows(keys: KeyReader, n_layers: int) -> tuple[int | None, ...]:
    windows = keys.get("windows")
    if windows is None:
        return (None,) * n_layers
    fits = isinstance(windows, list) and len(windows) == n_layers
    if not fits or not all(w is None or (type(w) is int and w in WINDOW) for w in windows):
        raise keys.error("windows", f"expected null or tokens for each of {n_layers} layers")
    return tuple(windows)
