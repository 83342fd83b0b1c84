"""The family "tinyllm": decoders that were trained here, with any choice that a config can hold.

No other program knows its name, so none takes such a model for a Llama. What is shaped like a Llama
had better be saved as one.
"""

from typing import Any

from tinyllm.checkpoints.sizes import Sizes
from tinyllm.key_reader import KeyReader
from tinyllm.models.config import DecoderConfig
from tinyllm.models.positions import WITHOUT_NUMBERS, way_of
from tinyllm.models.rope_json import read_rope, write_rope

WINDOW = range(1, 2**31)  # tokens
YES_OR_NO = ("qkv_bias", "o_bias", "mlp_bias", "qk_norm")


def read_own(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Read the fields of DecoderConfig by their names, and what belongs to RoPE by everyone's."""
    name = keys.string("positions", ("rope", *WITHOUT_NUMBERS))
    rotary = name == "rope"
    return {
        "positions": read_rope(keys, sizes) if rotary else WITHOUT_NUMBERS[name],
        "windows": _read_windows(keys, sizes.n_layers),
        "embedding_scale": keys.number("embedding_scale", 1e-6, 1e6, default=1.0),
        **{key: keys.boolean(key, False) for key in YES_OR_NO},
    }


def write_own(config: DecoderConfig) -> dict[str, Any]:
    """Write the same."""
    return {
        "positions": way_of(config.positions).name,
        **write_rope(config.positions),
        "windows": list(config.windows),
        "embedding_scale": config.embedding_scale,
        **{key: getattr(config, key) for key in YES_OR_NO},
    }


def _read_windows(keys: KeyReader, n_layers: int) -> tuple[int | None, ...]:
    windows = keys.get("windows")
    if windows is None:
        return (None,) * n_layers
    fits = isinstance(windows, list) and len(windows) == n_layers
    if not fits or not all(w is None or (type(w) is int and w in WINDOW) for w in windows):
        raise keys.error("windows", f"expected null or tokens for each of {n_layers} layers")
    return tuple(windows)
