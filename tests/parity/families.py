"""Tiny models of every kind that tinyllm reads: their configs as transformers 5 spells them.

No two sizes are equal, so that swapped axes cannot hide; `mha` must have square projections, and
has them. Where the kind of RoPE is the point, 16 features a head give it eight clocks to scale.
"""

import copy
from functools import partial
from typing import Any

import numpy as np

BATCH, LENGTH, VOCAB = 3, 17, 23
_SIZES = {
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "bos_token_id": None,
    "eos_token_id": None,
    "tie_word_embeddings": False,
}
_ROPE_SIZES = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}


def _heads(heads: int, kv: int, head_dim: int | None = None) -> dict[str, Any]:
    """Without `head_dim` the class derives it: hidden_size / heads."""
    sizes = {"num_attention_heads": heads, "num_key_value_heads": kv}
    return sizes if head_dim is None else sizes | {"head_dim": head_dim}


def _rope(kind: str, theta: float = 10000.0, **numbers: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **numbers}}


def _config(model_type: str, *parts: dict[str, Any], **keys: Any) -> dict[str, Any]:
    config = {"model_type": model_type, "vocab_size": VOCAB, **_SIZES, **_rope("default")}
    for part in parts:
        config |= part
    return config | keys


def _other(model_type: str, **keys: Any) -> dict[str, Any]:
    """A family whose config shares no more than these with Llama's."""
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return {"model_type": model_type, "vocab_size": VOCAB, **ids, **keys}


_llama, _mistral = partial(_config, "llama"), partial(_config, "mistral")
_qwen2, _qwen3 = partial(_config, "qwen2"), partial(_config, "qwen3")
_WINDOWS = {"use_sliding_window": True, "sliding_window": 5}
_MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
_OPT = {
    "hidden_size": 12, "ffn_dim": 20, "num_hidden_layers": 2, "num_attention_heads": 3,
    "max_position_embeddings": 64, "word_embed_proj_dim": 12,
}  # fmt: skip
_NEOX = {
    "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 64,
}  # fmt: skip
_FALCON = {"hidden_size": 12, "num_hidden_layers": 2, "max_position_embeddings": 64}
_YARN = {"factor": 2.0, "original_max_position_embeddings": 32}

CONFIGS = {
    "mha": _llama(_heads(3, 3)),
    "gqa": _llama(_heads(6, 2, 10), _rope("default", 500000.0)),
    "mqa": _llama(_heads(4, 1, 6)),
    "tied": _llama(_heads(6, 3, 8), tie_word_embeddings=True),
    "biased": _llama(_heads(4, 2, 6), attention_bias=True, mlp_bias=True),
    "linear": _llama(_ROPE_SIZES, _rope("linear", factor=4.0)),
    "dynamic_within": _llama(_ROPE_SIZES, _rope("dynamic", factor=3.0), max_position_embeddings=17),
    "dynamic_beyond": _llama(_ROPE_SIZES, _rope("dynamic", factor=3.0), max_position_embeddings=11),
    "llama3": _llama(
        _ROPE_SIZES,
        _rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        ),
    ),
    "yarn": _llama(_ROPE_SIZES, _rope("yarn", **_YARN)),
    "yarn_betas": _llama(
        _ROPE_SIZES, _rope("yarn", **_YARN, beta_fast=1.5, beta_slow=0.3, attention_factor=0.8)
    ),
    "yarn_mscale": _llama(_ROPE_SIZES, _rope("yarn", **_YARN, mscale=1.3, mscale_all_dim=0.4)),
    "yarn_untruncated": _llama(
        _ROPE_SIZES, _rope("yarn", **_YARN, beta_fast=1.5, beta_slow=0.3, truncate=False)
    ),
    "mistral_window": _mistral(_heads(6, 2), sliding_window=5),
    "mistral_full": _mistral(_heads(4, 2, 10), sliding_window=None),
    "qwen2": _qwen2(_heads(6, 2), _rope("default", 1000000.0), tie_word_embeddings=True),
    "qwen2_windows": _qwen2(_heads(3, 1), **_WINDOWS, max_window_layers=1, num_hidden_layers=3),
    "qwen2_mixed": _qwen2(_heads(3, 1), **_WINDOWS, layer_types=_MIXED, num_hidden_layers=3),
    "qwen3": _qwen3(_heads(4, 2, 10), _rope("default", 1000000.0)),
    "qwen3_biased": _qwen3(_heads(4, 1, 8), attention_bias=True, tie_word_embeddings=True),
    "qwen3_window": _qwen3(_heads(6, 3, 8), **_WINDOWS, max_window_layers=0),
    "qwen3_yarn": _qwen3(_ROPE_SIZES, _rope("yarn", **_YARN)),
    "gemma2": _config(
        "gemma2",
        _heads(4, 2, 6),
        num_hidden_layers=3,
        query_pre_attn_scalar=5,
        sliding_window=5,
        attn_logit_softcapping=0.7,
        final_logit_softcapping=1.5,
        tie_word_embeddings=True,
        pad_token_id=None,
    ),
    "gpt2": _other("gpt2", n_positions=64, n_embd=12, n_layer=2, n_head=3, n_inner=20),
    "gpt2_untied": _other(
        "gpt2", n_positions=64, n_embd=12, n_layer=1, n_head=2, activation_function="relu",
        tie_word_embeddings=False,
    ),
    "opt": _other("opt", **_OPT),
    "opt_post": _other("opt", **_OPT, do_layer_norm_before=False, enable_bias=False),
    "opt_projected": _other(
        "opt", **_OPT | {"word_embed_proj_dim": 7}, do_layer_norm_before=False
    ),
    "opt_projected_untied": _other(
        "opt", **_OPT | {"word_embed_proj_dim": 7}, tie_word_embeddings=False
    ),
    "bloom": _other("bloom", hidden_size=12, n_layer=2, n_head=6),
    "mpt": _other("mpt", d_model=12, n_layers=2, n_heads=6, max_seq_len=64),
    "mpt_clipped": _other(
        "mpt", d_model=8, n_layers=2, n_heads=2, max_seq_len=64,
        attn_config={"clip_qkv": 0.4, "softmax_scale": 0.3},
    ),
    "pythia": _other("gpt_neox", **_NEOX, **_rope("default", partial_rotary_factor=0.25)),
    "neox_sequential": _other(
        "gpt_neox", **_NEOX, **_rope("linear", 500.0, factor=2.0, partial_rotary_factor=0.5),
        use_parallel_residual=False, hidden_act="gelu_new", attention_bias=False,
        tie_word_embeddings=True,
    ),
    "falcon_7b": _other("falcon", **_FALCON, num_attention_heads=3),
    "falcon_40b": _other(
        "falcon", **_FALCON, num_attention_heads=6, num_kv_heads=2, new_decoder_architecture=True,
        ffn_hidden_size=20,
    ),
    "falcon_11b": _other(
        "falcon", **_FALCON, num_attention_heads=6, num_kv_heads=2, new_decoder_architecture=True,
        num_ln_in_parallel_attn=1,
    ),
    "falcon_rw": _other(
        "falcon", **_FALCON, num_attention_heads=6, multi_query=False, parallel_attn=False,
        bias=True, alibi=True,
    ),
}  # fmt: skip
OF_LLAMAS_NAMES = [name for name, config in CONFIGS.items() if "rms_norm_eps" in config]
GOLDEN = ("mha", "gqa", "tied", "biased", "dynamic_beyond", "llama3", "yarn_betas", "yarn_mscale",
          "yarn_untruncated", "mistral_window", "mistral_full", "qwen2_mixed", "qwen3", "gemma2",
          "gpt2", "opt_post", "bloom", "mpt_clipped", "neox_sequential", "falcon_40b",
          "falcon_rw")  # fmt: skip


def random_parameter(
    name: str, shape: tuple[int, ...], rng: np.random.Generator, std: float
) -> np.ndarray:
    """Draw a float64 parameter that matters: no norm weight is 1, and no bias 0."""
    if name.endswith("weight") and len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0.0, std, shape)


def random_tokens(batch: int = BATCH, length: int = LENGTH, seed: int = 0) -> np.ndarray:
    """Draw token ids (B, T)."""
    return np.random.default_rng(seed).integers(0, VOCAB, (batch, length))


def as_transformers_4(config: dict[str, Any], kind_key: str) -> dict[str, Any]:
    """Spell a config as transformers 4 and older did, with RoPE's kind under `kind_key`.

    Such files name head_dim only where it cannot be derived, but Qwen3's always do. The weights'
    dtype is torch_dtype in them.
    """
    old = copy.deepcopy(config)
    rope = old.pop("rope_parameters")
    old["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    old["rope_scaling"] = None if kind == "default" else {kind_key: kind, **rope}
    if "dtype" in old:
        old["torch_dtype"] = old.pop("dtype")
    derived = old["hidden_size"] // old["num_attention_heads"]
    if old.get("head_dim") == derived and old["model_type"] != "qwen3":
        del old["head_dim"]
    return old
