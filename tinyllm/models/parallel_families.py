"""GPT-NeoX with Pythia, and Falcon: families whose attention and feed-forward layer read one x."""

from typing import Any

from tinyllm.checkpoints.sizes import HF_NAMES, Sizes, read_sizes
from tinyllm.key_reader import KeyReader
from tinyllm.models.config import DecoderConfig
from tinyllm.models.family import PLAIN, Family, require
from tinyllm.models.positions import FalconAlibi
from tinyllm.models.rope import Rope
from tinyllm.models.rope_json import PARTIAL, read_rope, write_rope
from tinyllm.models.stored import Names

EPS = 1e-5  # of LayerNorm, where a file does not say
DENSE = {"mlp.up_proj": "mlp.dense_h_to_4h", "mlp.down_proj": "mlp.dense_4h_to_h"}
ROPE_KEYS = ("rope_theta", "rope_scaling", "rope_parameters", PARTIAL)
OLD = {"rotary_emb_base": "rope_theta", "rotary_pct": PARTIAL}
ACTS = {"gelu": "gelu", **PLAIN}

# GPT-NeoX: Black et al. 2022 (arXiv:2204.06745); Pythia: Biderman et al. 2023 (arXiv:2304.01373).

_NEOX_SIZES = {key: HF_NAMES[key] for key in HF_NAMES if key not in ("n_kv_heads", "head_dim")}


def _neox_sizes(keys: KeyReader) -> Sizes:
    return read_sizes(keys, _NEOX_SIZES)


def _read_neox(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    biased = keys.boolean("attention_bias", True)
    parallel = keys.boolean("use_parallel_residual", True)
    return {
        "qkv_bias": biased,
        "o_bias": biased,
        "windows": (None,) * sizes.n_layers,
        "positions": read_rope(_neox_rope(keys), sizes, partial=True),
        "layout": "parallel" if parallel else "pre",
    }


def _neox_rope(keys: KeyReader) -> KeyReader:
    """Return the keys of RoPE under everyone's names; a quarter of each head turns unless told."""
    values = {key: keys.get(key) for key in ROPE_KEYS}
    for old, new in OLD.items():
        if keys.get(old) is not None:
            if values[new] not in (None, keys.get(old)):
                raise keys.error(old, f"and {new} says {values[new]!r}")
            values[new] = keys.get(old)
    branches = [values[key] for key in ("rope_scaling", "rope_parameters")]
    if not any(isinstance(b, dict) and PARTIAL in b for b in branches) and values[PARTIAL] is None:
        values[PARTIAL] = 0.25
    return KeyReader(values, keys.where)


def _write_neox(config: DecoderConfig) -> dict[str, Any]:
    written = write_rope(config.positions)
    fraction = config.positions.fraction if isinstance(config.positions, Rope) else 1.0
    return {
        "rotary_emb_base": written.pop("rope_theta", None),
        "rotary_pct": written.pop(PARTIAL, fraction),
        **written,
        "attention_bias": config.o_bias,
        "use_parallel_residual": config.layout == "parallel",
    }


def _neox_names(config: DecoderConfig) -> Names:
    return Names(
        whole={
            "model.embed_tokens": "gpt_neox.embed_in",
            "model.norm": "gpt_neox.final_layer_norm",
            "lm_head": "embed_out",
        },
        layers="gpt_neox.layers",
        within=DENSE | {"self_attn.o_proj": "attention.dense"},
        joint="attention.query_key_value",
        groups=config.n_heads,
        prefix="gpt_neox.",
        buffers=(".attention.bias", ".attention.masked_bias"),
    )


# Falcon: Almazrouei et al. 2023 (arXiv:2311.16867); RW: Penedo et al. 2023 (arXiv:2306.01116).

_FALCON_SIZES = {key: HF_NAMES[key] for key in HF_NAMES if key != "head_dim"} | {
    "n_kv_heads": "num_kv_heads", "d_ff": "ffn_hidden_size",
}  # fmt: skip


def _falcon_sizes(keys: KeyReader) -> Sizes:
    """One key head where the old architecture is multi-query, whatever `num_kv_heads` says."""
    names = dict(_FALCON_SIZES)
    if not keys.boolean("new_decoder_architecture", False):
        del names["n_kv_heads"]
        keys.get("num_kv_heads")
    one = "n_kv_heads" not in names and keys.boolean("multi_query", True)
    return read_sizes(keys, names, d_ff_ratio=4, n_kv_heads=1 if one else None, max_seq_len=2048)


def _read_falcon(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Three architectures: 7B with one norm, 40B and 180B with two, RW as GPT-2 with ALiBi."""
    require(keys, apply_residual_connection_post_layernorm=False)
    biased, new = keys.boolean("bias", False), keys.boolean("new_decoder_architecture", False)
    parallel, norms = keys.boolean("parallel_attn", True), keys.get("num_ln_in_parallel_attn")
    keys.boolean("multi_query", True)
    if norms not in (None, 1, 2) or (norms == 2 and not new):
        raise keys.error("num_ln_in_parallel_attn", "expected 1, or in the new architecture 2")
    layout = "parallel" if new and norms != 1 else "parallel_one_norm"
    if keys.boolean("alibi", False):
        positions: Any = FalconAlibi()
        for key in ROPE_KEYS:
            keys.get(key)  # transformers writes them all the same
    else:
        positions = read_rope(keys, sizes)
    return {
        **dict.fromkeys(("qkv_bias", "o_bias", "mlp_bias"), biased),
        "windows": (None,) * sizes.n_layers,
        "positions": positions,
        "layout": layout if parallel or new else "pre",
    }


def _write_falcon(config: DecoderConfig) -> dict[str, Any]:
    new = _is_new(config)
    return {
        **write_rope(config.positions),
        "bias": config.o_bias,
        "alibi": isinstance(config.positions, FalconAlibi),
        "new_decoder_architecture": new,
        "multi_query": config.n_kv_heads == 1,
        "parallel_attn": config.layout != "pre",
        "num_ln_in_parallel_attn": 2 if config.layout == "parallel" else 1 if new else None,
    }


def _is_new(config: DecoderConfig) -> bool:
    grouped = config.n_kv_heads not in (1, config.n_heads)
    return config.layout == "parallel" or grouped


def _falcon_names(config: DecoderConfig) -> Names:
    two = {"input_layernorm": "ln_attn", "post_attention_layernorm": "ln_mlp"}
    return Names(
        whole={
            "model.embed_tokens": "transformer.word_embeddings",
            "model.norm": "transformer.ln_f",
        },
        layers="transformer.h",
        within=DENSE
        | {"self_attn.o_proj": "self_attention.dense"}
        | (two if config.layout == "parallel" else {}),
        joint="self_attention.query_key_value",
        groups=config.n_kv_heads,
        prefix="transformer.",
    )


PARALLEL_FAMILIES = {
    "gpt_neox": Family(
        architecture="GPTNeoXForCausalLM",
        sizes=_NEOX_SIZES,
        read_sizes=_neox_sizes,
        eps="layer_norm_eps",
        default_eps=EPS,
        acts=ACTS,
        harmless=frozenset({"classifier_dropout", "hidden_dropout", "is_decoder"}),
        fields={"norm": "layernorm", "mlp_bias": True},
        read=_read_neox,
        write=_write_neox,
        names=_neox_names,
    ),
    "falcon": Family(
        architecture="FalconForCausalLM",
        code=("configuration_falcon", "modeling_falcon"),
        sizes=_FALCON_SIZES,
        read_sizes=_falcon_sizes,
        eps="layer_norm_epsilon",
        default_eps=EPS,
        act="activation",
        acts=ACTS,
        tied=True,
        harmless=frozenset({"hidden_dropout"}),
        fields={"norm": "layernorm"},
        read=_read_falcon,
        write=_write_falcon,
        names=_falcon_names,
    ),
}
