"""Llama, and the families whose files name their parameters as Llama's do."""

from functools import partial
from typing import Any

from tinyllm.checkpoints.sizes import Sizes, read_sizes
from tinyllm.key_reader import KeyReader
from tinyllm.models.config import DecoderConfig
from tinyllm.models.family import Family, require
from tinyllm.models.rope_json import read_rope, write_rope

DEFAULT_WINDOW = 4096  # tokens, of the families that have one, where the file does not say
FULL, SLIDING = "full_attention", "sliding_attention"


def _read_llama(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Llama 1 to 3.x (Touvron et al. 2023; Dubey et al. 2024), and what is shaped like it."""
    biased = keys.boolean("attention_bias", False)
    return {
        "qkv_bias": biased,
        "o_bias": biased,
        "mlp_bias": keys.boolean("mlp_bias", False),
        "windows": (None,) * sizes.n_layers,
        "positions": read_rope(keys, sizes),
    }


def _write_llama(config: DecoderConfig) -> dict[str, Any]:
    biases = {"attention_bias": config.o_bias, "mlp_bias": config.mlp_bias}
    return write_rope(config.positions) | biases


def _read_mistral(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Mistral (Jiang et al. 2023, arXiv:2310.06825): the same window in every layer."""
    windows = (_read_window(keys),) * sizes.n_layers
    return {"windows": windows, "positions": read_rope(keys, sizes)}


def _write_mistral(config: DecoderConfig) -> dict[str, Any]:
    return write_rope(config.positions) | {"sliding_window": config.windows[0]}


def _read_qwen2(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Qwen2 and 2.5 (Yang et al. 2024, arXiv:2407.10671): biases on queries, keys and values."""
    return {"qkv_bias": True, **_read_qwen(keys, sizes)}


def _read_qwen3(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Qwen3 (Yang et al. 2025, arXiv:2505.09388): norms on queries and keys instead of biases."""
    biased = keys.boolean("attention_bias", False)
    return {"qkv_bias": biased, "o_bias": biased, "qk_norm": True, **_read_qwen(keys, sizes)}


def _write_qwen3(config: DecoderConfig) -> dict[str, Any]:
    return {"attention_bias": config.o_bias, **_write_qwen(config)}


def _read_qwen(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    windows = _read_qwen_windows(keys, sizes.n_layers)
    return {"windows": windows, "positions": read_rope(keys, sizes)}


def _read_qwen_windows(keys: KeyReader, n_layers: int) -> tuple[int | None, ...]:
    """Layers have the window that `layer_types` gives them, else all from `max_window_layers` on.

    `sliding_window` is its width, which counts for nothing unless `use_sliding_window` is true.
    """
    width = _read_window(keys)
    first = keys.integer("max_window_layers", 0, 2**31, default=28)
    if not keys.boolean("use_sliding_window", False):
        width = None
    kinds = keys.get("layer_types")
    if kinds is None:
        return tuple(width if i >= first else None for i in range(n_layers))
    return _read_layer_types(keys, width, kinds, n_layers)


def _read_layer_types(
    keys: KeyReader, width: int | None, kinds: Any, n_layers: int
) -> tuple[int | None, ...]:
    known = {FULL: None} if width is None else {FULL: None, SLIDING: width}
    fits = isinstance(kinds, list) and len(kinds) == n_layers
    if not fits or not all(kind in tuple(known) for kind in kinds):  # a kind may be unhashable
        raise keys.error("layer_types", f"expected {' or '.join(known)} for {n_layers} layers")
    return tuple(known[kind] for kind in kinds)


def _write_qwen(config: DecoderConfig) -> dict[str, Any]:
    return write_rope(config.positions) | _write_qwen_windows(config.windows)


def _write_qwen_windows(windows: tuple[int | None, ...]) -> dict[str, Any]:
    """Programs older than `layer_types` read `max_window_layers` instead."""
    width = next((window for window in windows if window is not None), None)
    if width is None:
        return {"use_sliding_window": False, "sliding_window": None}
    return {
        "use_sliding_window": True,
        "sliding_window": width,
        "max_window_layers": windows.index(width),
        "layer_types": layer_types(windows),
    }


def _read_gemma2(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Gemma 2 (Gemma Team 2024, arXiv:2408.00118): every second layer has a window, from the first.

    Scores are scaled by another number than the width of a head, and they and the logits are bent
    below a limit. Tokens' vectors are multiplied by √D.
    """
    require(keys, hidden_act="gelu_pytorch_tanh", use_bidirectional_attention=False)
    biased, scalar = keys.boolean("attention_bias", False), "query_pre_attn_scalar"
    return {
        "qkv_bias": biased,
        "o_bias": biased,
        "windows": _read_gemma2_windows(keys, sizes.n_layers),
        "positions": read_rope(keys, sizes),
        "attention_scale": keys.integer(scalar, 1, 2**20, default=256) ** -0.5,
        "attention_softcap": _read_cap(keys, "attn_logit_softcapping", 50.0),
        "logit_softcap": _read_cap(keys, "final_logit_softcapping", 30.0),
        "embedding_scale": sizes.d_model**0.5,
    }


def _read_gemma2_windows(keys: KeyReader, n_layers: int) -> tuple[int | None, ...]:
    width, kinds = _read_window(keys), keys.get("layer_types")
    alternating = [SLIDING if i % 2 == 0 else FULL for i in range(n_layers)]
    return _read_layer_types(keys, width, alternating if kinds is None else kinds, n_layers)


def _read_cap(keys: KeyReader, key: str, default: float) -> float | None:
    """The limit: none where the file says null, the usual one where it says nothing."""
    cap = keys.number(key, 1e-6, 1e6, default=None)
    return cap if key in keys.values else default


def _write_gemma2(config: DecoderConfig) -> dict[str, Any]:
    scale = config.head_dim**-0.5 if config.attention_scale is None else config.attention_scale
    return {
        **write_rope(config.positions),
        "attention_bias": config.o_bias,
        "sliding_window": next((w for w in config.windows if w is not None), None),
        "layer_types": layer_types(config.windows),
        "query_pre_attn_scalar": round(scale**-2),
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
    }


def layer_types(windows: tuple[int | None, ...]) -> list[str]:
    """Return what files call layers without and with a window."""
    return [FULL if window is None else SLIDING for window in windows]


def _read_window(keys: KeyReader) -> int | None:
    """The window in tokens: none where the file says null, the usual one where it says nothing."""
    width = keys.integer("sliding_window", 1, 2**31, default=None)
    return width if "sliding_window" in keys.values else DEFAULT_WINDOW


LLAMA_FAMILIES = {
    "llama": Family(architecture="LlamaForCausalLM", read=_read_llama, write=_write_llama),
    "mistral": Family(architecture="MistralForCausalLM", read=_read_mistral, write=_write_mistral),
    "qwen2": Family(architecture="Qwen2ForCausalLM", read=_read_qwen2, write=_write_qwen),
    "qwen3": Family(
        architecture="Qwen3ForCausalLM",
        read_sizes=partial(read_sizes, head_dim=128),
        read=_read_qwen3,
        write=_write_qwen3,
    ),
    "gemma2": Family(
        architecture="Gemma2ForCausalLM",
        read_sizes=partial(read_sizes, head_dim=256),
        act="hidden_activation",
        acts={"gelu_pytorch_tanh": "geglu_tanh"},
        tied=True,
        fields={"layout": "sandwich", "norm": "rmsnorm_plus_one"},
        read=_read_gemma2,
        write=_write_gemma2,
    ),
}
