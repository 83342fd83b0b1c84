"""Describe a model by its config alone, as a dict that JSON can hold."""

from dataclasses import asdict
from typing import Any

from tinyllm.memory import available_memory
from tinyllm.models.config import DecoderConfig
from tinyllm.models.cost import ITEM_BYTES, cache_bytes, count_parameters, flops_per_token
from tinyllm.models.families import FAMILIES
from tinyllm.models.rope import Rope, rope_numbers

DTYPES = ("float32", "bfloat16", "float64")


def describe_config(config: DecoderConfig) -> dict[str, Any]:
    """Return what the model is, and what it costs; bytes by dtype, FLOPs of a forward pass."""
    itself, each_before = flops_per_token(config)
    parameters = count_parameters(config)
    return {
        "architecture": FAMILIES[config.family].architecture,
        "config": asdict(config) | {"rope": _describe_rope(config.rope)},
        "parameters": parameters,
        "memory": {dtype: parameters * ITEM_BYTES[dtype] for dtype in DTYPES},
        "available_memory": available_memory(),
        "kv_bytes": {
            dtype: {
                "token": cache_bytes(config, 1, dtype),
                "context": cache_bytes(config, config.max_seq_len, dtype),
            }
            for dtype in DTYPES
        },
        "flops_per_token": {"itself": itself, "each_before": each_before},
    }


def _describe_rope(rope: Rope) -> dict[str, Any]:
    """The numbers that count for its kind."""
    scale = {} if rope.scale == 1.0 else {"scale": rope.scale}
    return {"kind": rope.kind, "theta": rope.theta, **rope_numbers(rope), **scale}
