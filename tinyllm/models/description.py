"""Describe a model by its config alone, as a dict that JSON can hold."""

from typing import Any

from tinyllm.memory import available_memory
from tinyllm.models.architecture import Config, architecture
from tinyllm.models.cost import cache_bytes, count_parameters
from tinyllm.models.storage import ITEM_BYTES

DTYPES = ("float32", "bfloat16", "float64")


def describe_config(config: Config) -> dict[str, Any]:
    """Return what the model is, and what it costs; bytes by dtype, FLOPs of a forward pass."""
    kind = architecture(config)
    (name,) = kind.write_config(config, DTYPES[0])["architectures"]
    itself, each_before = kind.flops(config)
    parameters = count_parameters(config)
    return {
        "architecture": name,
        "config": kind.describe(config),
        "parameters": parameters,
        "active_parameters": parameters - kind.idle_parameters(config),
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
