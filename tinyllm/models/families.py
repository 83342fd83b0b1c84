"""The table of families: what each one's config may say, and what it means.

A row names the family's class on disk and reads the keys in which it differs from the others. The
parameters are named as the checkpoints of all these families name them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyllm.models.config import DecoderConfig
from tinyllm.models.key_reader import KeyReader


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One row: `read` returns fields of DecoderConfig, `write` the keys that say the same."""

    architecture: str
    read: Callable[[KeyReader], dict[str, Any]]
    write: Callable[[DecoderConfig], dict[str, Any]]


def _read_llama(keys: KeyReader) -> dict[str, Any]:
    """Llama 1 to 3.x (Touvron et al. 2023; Dubey et al. 2024), and what is shaped like it."""
    biased = keys.boolean("attention_bias", False)
    return {"qkv_bias": biased, "o_bias": biased, "mlp_bias": keys.boolean("mlp_bias", False)}


def _write_llama(config: DecoderConfig) -> dict[str, Any]:
    return {"attention_bias": config.o_bias, "mlp_bias": config.mlp_bias}


def _read_mistral(keys: KeyReader) -> dict[str, Any]:
    """Mistral (Jiang et al. 2023, arXiv:2310.06825): a window of 4096 unless the file says null."""
    window = keys.integer("sliding_window", 1, 2**31, default=None)
    return {"window": window if "sliding_window" in keys.values else 4096}


def _write_mistral(config: DecoderConfig) -> dict[str, Any]:
    return {"sliding_window": config.window}


FAMILIES = {
    "llama": Family(architecture="LlamaForCausalLM", read=_read_llama, write=_write_llama),
    "mistral": Family(architecture="MistralForCausalLM", read=_read_mistral, write=_write_mistral),
}
