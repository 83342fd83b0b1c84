"""GPT-2 and the families after it: LayerNorm, a plain feed-forward layer, names of their own.

Every row says how its files spell what the others spell otherwise; what the model then computes is
made of the same pieces (see `tinyllm.models.config`).
"""

from functools import partial
from typing import Any

from tinyllm.checkpoints.sizes import LARGEST, Sizes, read_sizes
from tinyllm.key_reader import KeyReader
from tinyllm.models.config import DecoderConfig
from tinyllm.models.family import HARMLESS, PLAIN, Family, require, spelled
from tinyllm.models.positions import Alibi, Learned
from tinyllm.models.stored import Names

BIASED = {"qkv_bias": True, "o_bias": True, "mlp_bias": True}
EPS = 1e-5  # of LayerNorm, where a file does not say


def _everywhere(sizes: Sizes, **fields: Any) -> dict[str, Any]:
    return {"windows": (None,) * sizes.n_layers, **fields}


# GPT-2: Radford et al. 2019, "Language models are unsupervised multitask learners".

_GPT2_SIZES = {
    "d_model": ("n_embd", "hidden_size"),
    "d_ff": ("n_inner",),
    "n_layers": ("n_layer", "num_hidden_layers"),
    "n_heads": ("n_head", "num_attention_heads"),
    "vocab_size": ("vocab_size",),
    "max_seq_len": ("n_positions", "max_position_embeddings"),
}


def _gpt2_sizes(keys: KeyReader) -> Sizes:
    return read_sizes(keys, spelled(keys, _GPT2_SIZES), d_ff_ratio=4)


def _read_gpt2(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    require(
        keys, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False,
        reorder_and_upcast_attn=False, add_cross_attention=False,
    )  # fmt: skip
    return _everywhere(sizes, positions=Learned())


def _gpt2_names(config: DecoderConfig) -> Names:
    return Names(
        whole={
            "model.embed_tokens": "transformer.wte",
            "model.embed_positions": "transformer.wpe",
            "model.norm": "transformer.ln_f",
        },
        layers="transformer.h",
        within={
            "input_layernorm": "ln_1",
            "self_attn.o_proj": "attn.c_proj",
            "post_attention_layernorm": "ln_2",
            "mlp.up_proj": "mlp.c_fc",
            "mlp.down_proj": "mlp.c_proj",
        },
        joint="attn.c_attn",
        transposed=True,
        prefix="transformer.",
        buffers=(".attn.bias", ".attn.masked_bias"),
    )


# OPT: Zhang et al. 2022 (arXiv:2205.01068).

_OPT_SIZES = {
    "d_model": "hidden_size",
    "d_ff": "ffn_dim",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "vocab_size": "vocab_size",
    "max_seq_len": "max_position_embeddings",
}


def _read_opt(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """The table of positions begins with two rows that stand for none."""
    require(
        keys, _remove_final_layer_norm=False, layer_norm_elementwise_affine=True,
    )  # fmt: skip
    width = keys.integer("word_embed_proj_dim", 1, LARGEST, default=sizes.d_model)
    biased = keys.boolean("enable_bias", True)
    layout = "pre" if keys.boolean("do_layer_norm_before", True) else "post"
    return _everywhere(
        sizes, positions=Learned(offset=2), layout=layout, **dict.fromkeys(BIASED, biased),
        embed_dim=None if width == sizes.d_model else width,
    )  # fmt: skip


def _write_opt(config: DecoderConfig) -> dict[str, Any]:
    return {
        "word_embed_proj_dim": config.embed_dim or config.d_model,
        "do_layer_norm_before": config.layout == "pre",
        "enable_bias": config.o_bias,
    }


def _opt_names(config: DecoderConfig) -> Names:
    first, second = "self_attn_layer_norm", "final_layer_norm"
    before = config.layout == "pre"
    return Names(
        whole={
            "model.embed_tokens": "model.decoder.embed_tokens",
            "model.embed_positions": "model.decoder.embed_positions",
            "model.norm": "model.decoder.final_layer_norm",
            "model.project_in": "model.decoder.project_in",
            "model.project_out": "model.decoder.project_out",
        },
        layers="model.decoder.layers",
        within={
            "input_layernorm" if before else "post_attention_layernorm": first,
            "post_attention_layernorm" if before else "post_feedforward_layernorm": second,
            "self_attn.o_proj": "self_attn.out_proj",
            "mlp.up_proj": "fc1",
            "mlp.down_proj": "fc2",
        },
        prefix="model.",
    )


# BLOOM: BigScience 2022 (arXiv:2211.05100).

_BLOOM_SIZES = {
    "d_model": ("hidden_size", "n_embed"),
    "n_layers": ("n_layer", "num_hidden_layers"),
    "n_heads": ("n_head", "num_attention_heads"),
    "vocab_size": ("vocab_size",),
    "max_seq_len": ("seq_length",),
}


def _bloom_sizes(keys: KeyReader) -> Sizes:
    require(keys, n_inner=None)
    return read_sizes(keys, spelled(keys, _BLOOM_SIZES), d_ff_ratio=4, max_seq_len=2048)


def _read_bloom(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    require(keys, apply_residual_connection_post_layernorm=False, skip_bias_add_qkv=False)
    return _everywhere(sizes, positions=Alibi())


def _write_bloom(config: DecoderConfig) -> dict[str, Any]:
    return {"apply_residual_connection_post_layernorm": False}


def _bloom_names(config: DecoderConfig) -> Names:
    return Names(
        whole={
            "model.embed_tokens": "transformer.word_embeddings",
            "model.embed_norm": "transformer.word_embeddings_layernorm",
            "model.norm": "transformer.ln_f",
        },
        layers="transformer.h",
        within=DENSE | {"self_attn.o_proj": "self_attention.dense"},
        joint="self_attention.query_key_value",
        groups=config.n_heads,
        prefix="transformer.",
    )


DENSE = {"mlp.up_proj": "mlp.dense_h_to_4h", "mlp.down_proj": "mlp.dense_4h_to_h"}

# MPT: MosaicML 2023, "Introducing MPT-7B".

_MPT_SIZES = {
    "d_model": ("d_model", "hidden_size"),
    "n_layers": ("n_layers", "num_hidden_layers"),
    "n_heads": ("n_heads", "num_attention_heads"),
    "vocab_size": ("vocab_size",),
    "max_seq_len": ("max_seq_len",),
}


def _mpt_sizes(keys: KeyReader) -> Sizes:
    require(keys, expansion_ratio=4)  # whatever the file says, transformers computes with 4
    return read_sizes(keys, spelled(keys, _MPT_SIZES), d_ff_ratio=4)


def _read_mpt(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    require(keys, no_bias=True, logit_scale=None)
    inner = keys.get("attn_config")
    if inner is not None and not isinstance(inner, dict):
        raise keys.error("attn_config", "expected an object")
    attention = KeyReader(inner or {}, f"{keys.where}: attn_config")
    require(
        attention, attn_type="multihead_attention", alibi=True, alibi_bias_max=8, prefix_lm=False,
        qk_ln=False, attn_uses_sequence_id=False,
    )  # fmt: skip
    clip = attention.number("clip_qkv", 0.0, 1e6, default=None)
    fields = _everywhere(
        sizes,
        positions=Alibi(),
        qkv_clip=clip or None,
        attention_scale=attention.number("softmax_scale", 1e-6, 1e6, default=None),
    )
    attention.refuse_unread(HARMLESS | {"attn_pdrop", "attn_impl", "model_type"})
    return fields


def _write_mpt(config: DecoderConfig) -> dict[str, Any]:
    return {
        "expansion_ratio": 4,
        "learned_pos_emb": False,
        "no_bias": True,
        "attn_config": {
            "alibi": True,
            "clip_qkv": config.qkv_clip,
            "softmax_scale": config.attention_scale,
        },
    }


def _mpt_names(config: DecoderConfig) -> Names:
    return Names(
        whole={"model.embed_tokens": "transformer.wte", "model.norm": "transformer.norm_f"},
        layers="transformer.blocks",
        within={
            "input_layernorm": "norm_1",
            "self_attn.o_proj": "attn.out_proj",
            "post_attention_layernorm": "norm_2",
            "mlp.up_proj": "ffn.up_proj",
            "mlp.down_proj": "ffn.down_proj",
        },
        joint="attn.Wqkv",
        prefix="transformer.",
    )


def _first(names: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {size: spellings[0] for size, spellings in names.items()}


GPT_FAMILIES = {
    "gpt2": Family(
        architecture="GPT2LMHeadModel",
        sizes=_first(_GPT2_SIZES),
        read_sizes=_gpt2_sizes,
        eps="layer_norm_epsilon",
        default_eps=EPS,
        act="activation_function",
        acts=PLAIN,
        tied=True,
        harmless=frozenset(
            {
                "attn_pdrop", "embd_pdrop", "resid_pdrop", "n_ctx", "summary_activation",
                "summary_first_dropout", "summary_proj_to_labels", "summary_type",
                "summary_use_proj", "task_specific_params",
            }
        ),
        fields={"norm": "layernorm", **BIASED},
        read=_read_gpt2,
        write=lambda config: {},
        names=_gpt2_names,
    ),
    "opt": Family(
        architecture="OPTForCausalLM",
        sizes=_OPT_SIZES,
        read_sizes=partial(read_sizes, names=_OPT_SIZES),
        eps=None,
        default_eps=EPS,
        act="activation_function",
        acts={"relu": "relu", **PLAIN},
        tied=True,
        harmless=frozenset(
            {"dropout", "activation_dropout", "layerdrop", "init_std", "prefix"}
        ),
        fields={"norm": "layernorm"},
        read=_read_opt,
        write=_write_opt,
        names=_opt_names,
    ),
    "bloom": Family(
        architecture="BloomForCausalLM",
        sizes=_first(_BLOOM_SIZES),
        read_sizes=_bloom_sizes,
        eps="layer_norm_epsilon",
        default_eps=EPS,
        act=None,
        tied=True,
        harmless=frozenset(
            {
                "attention_softmax_in_fp32", "bias_dropout_fusion", "hidden_dropout",
                "masked_softmax_fusion", "offset_alibi", "skip_bias_add", "slow_but_exact",
                "unk_token_id",
            }
        ),
        fields={"norm": "layernorm", "mlp": "gelu_bloom", "embedding_norm": True, **BIASED},
        read=_read_bloom,
        write=_write_bloom,
        names=_bloom_names,
    ),
    "mpt": Family(
        architecture="MptForCausalLM",
        also=("MPTForCausalLM",),
        code=("configuration_mpt", "modeling_mpt"),
        sizes=_first(_MPT_SIZES),
        read_sizes=_mpt_sizes,
        eps="layer_norm_epsilon",
        default_eps=EPS,
        act=None,
        tied=True,
        harmless=frozenset(
            {
                "emb_pdrop", "embedding_fraction", "init_config", "init_device", "learned_pos_emb",
                "norm_type", "resid_pdrop", "tokenizer_name", "verbose",
            }
        ),
        fields={"norm": "layernorm_without_bias", "mlp": "gelu"},
        read=_read_mpt,
        write=_write_mpt,
        names=_mpt_names,
    ),
}  # fmt: skip
