"""Marian, BART and T5: what their configs say, and the names in their files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from tinyllm.checkpoints.sizes import EPS_RANGE
from tinyllm.errors import ConfigError
from tinyllm.key_reader import KeyReader
from tinyllm.models.config_json import read_eos
from tinyllm.models.family import HARMLESS, PLAIN, require
from tinyllm.models.positions import Learned, Positions, Relative, SinusoidalHalves
from tinyllm.models.seq2seq_config import (
    LOGITS_BIAS,
    Seq2SeqConfig,
    SourceConfig,
    TargetConfig,
    seq2seq_shapes,
)
from tinyllm.models.stored import Names

LARGEST = 2**24
_ACTS = {"gelu": "gelu", **PLAIN, "swish": "silu", "silu": "silu"}
_HARMLESS = HARMLESS | {
    "activation_dropout", "classifier_dropout", "classif_dropout", "decoder_layerdrop",
    "decoder_start_token_id", "dropout", "dropout_rate", "early_stopping", "encoder_layerdrop",
    "extra_pos_embeddings", "forced_bos_token_id", "forced_eos_token_id",
    "force_bos_token_to_be_generated",
    "gradient_checkpointing", "init_std", "initializer_factor", "is_encoder_decoder",
    "length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beams",
    "num_hidden_layers", "output_past", "prefix", "task_specific_params", "bad_words_ids",
    "num_labels",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Seq2SeqFamily:
    """One row: `read` and `write` are about config.json, `names` about the other file."""

    architecture: str
    sizes: Mapping[str, tuple[str, ...]]  # the keys that say each size, of one side or of both
    new: Mapping[str, Any] = field(default_factory=dict)  # what a new model's config says besides
    read: Callable[[KeyReader, str], Seq2SeqConfig]
    write: Callable[[Seq2SeqConfig], dict[str, Any]]
    names: Callable[[Seq2SeqConfig], Names]


def read_seq2seq_config(keys: KeyReader) -> Seq2SeqConfig:
    """Understand a config.json, or raise ConfigError: no unknown key is ever ignored."""
    name = keys.string("model_type", tuple(SEQ2SEQ_FAMILIES))
    family = SEQ2SEQ_FAMILIES[name]
    if keys.get("architectures") not in (None, [], [family.architecture]):
        raise keys.error("architectures", f"expected {[family.architecture]} for a {name}")
    config = family.read(keys, name)
    keys.refuse_unread(_HARMLESS)
    return config


def write_seq2seq_config(config: Seq2SeqConfig, dtype: str) -> dict[str, Any]:
    """Return what config.json says of `config`; `dtype` is that of the weights on disk.

    Raises ConfigError where the files of its family cannot say all of it.
    """
    family, eos = SEQ2SEQ_FAMILIES[config.family], config.eos_ids
    written = {
        "architectures": [family.architecture],
        "model_type": config.family,
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "tie_word_embeddings": config.tie_embeddings,
        "pad_token_id": config.pad_id,
        "bos_token_id": config.bos_id,
        "eos_token_id": (eos[0] if len(eos) == 1 else list(eos)) if eos else None,
        "decoder_start_token_id": config.start_id,
        "torch_dtype": dtype,
        **family.write(config),
    }
    if read_seq2seq_config(KeyReader(written, "a config")) != config:
        raise ConfigError(f"a file of family {config.family!r} cannot hold this model")
    return written


def names_of_seq2seq(config: Seq2SeqConfig) -> Names:
    """Return how the files of the config's family name its parameters."""
    return SEQ2SEQ_FAMILIES[config.family].names(config)


def _tokens(keys: KeyReader, vocab_size: int) -> dict[str, Any]:
    last = vocab_size - 1
    pad = keys.integer("pad_token_id", 0, last, default=None)
    return {
        "pad_id": pad,
        "start_id": keys.integer("decoder_start_token_id", 0, last, default=pad or 0),
        "bos_id": keys.integer("bos_token_id", 0, last, default=None),
        "eos_ids": read_eos(keys, vocab_size),
    }


# Marian and BART: one code, in which positions and the norm after the embedding differ.
_LAYER = {
    "self_attn.o_proj": "self_attn.out_proj",
    "post_attention_layernorm": "self_attn_layer_norm",
    "cross_attn.q_proj": "encoder_attn.q_proj",
    "cross_attn.k_proj": "encoder_attn.k_proj",
    "cross_attn.v_proj": "encoder_attn.v_proj",
    "cross_attn.o_proj": "encoder_attn.out_proj",
    "post_cross_layernorm": "encoder_attn_layer_norm",
    "mlp.up_proj": "fc1",
    "mlp.down_proj": "fc2",
    "post_feedforward_layernorm": "final_layer_norm",
}


_BART_SIZES = {
    "d_model": ("d_model",),
    "d_ff": ("encoder_ffn_dim", "decoder_ffn_dim"),
    "n_layers": ("encoder_layers", "decoder_layers"),
    "n_heads": ("encoder_attention_heads", "decoder_attention_heads"),
    "max_seq_len": ("max_position_embeddings",),
}


def _bart(
    architecture: str,
    *,
    positions: Positions,
    embedding_norm: bool,
    act: str,
    new: Mapping[str, Any] | None = None,
) -> Seq2SeqFamily:
    def read(keys: KeyReader, name: str) -> Seq2SeqConfig:
        require(
            keys, normalize_before=False, normalize_embedding=embedding_norm,
            add_final_layer_norm=False, share_encoder_decoder_embeddings=True,
            static_position_embeddings=not embedding_norm,
        )  # fmt: skip
        vocab_size, D = keys.integer("vocab_size", 1, LARGEST), keys.integer("d_model", 1, LARGEST)
        require(keys, decoder_vocab_size=vocab_size)
        common: dict[str, Any] = {
            "family": name, "vocab_size": vocab_size, "d_model": D,
            "max_seq_len": keys.integer("max_position_embeddings", 1, LARGEST, default=1024),
            "norm_eps": 1e-5, "norm": "layernorm", "positions": positions,
            "embedding_norm": embedding_norm, "qkv_bias": True, "o_bias": True, "mlp_bias": True,
            "mlp": _ACTS[keys.string("activation_function", tuple(_ACTS), act)],
            "embedding_scale": sqrt(D) if keys.boolean("scale_embedding", False) else 1.0,
        }  # fmt: skip
        return Seq2SeqConfig(
            family=name,
            encoder=SourceConfig(**common, layout="post", **sizes(keys, "encoder", D)),
            decoder=TargetConfig(**common, layout="post_cross", **sizes(keys, "decoder", D)),
            tie_embeddings=keys.boolean("tie_word_embeddings", True),
            logits_bias=True,
            **_tokens(keys, vocab_size),
        )

    def sizes(keys: KeyReader, side: str, D: int) -> dict[str, Any]:
        heads = keys.integer(f"{side}_attention_heads", 1, D)
        if D % heads:
            raise keys.error(f"{side}_attention_heads", f"expected a divisor of d_model, {D}")
        layers = keys.integer(f"{side}_layers", 1, 10000)
        return {
            "n_layers": layers, "n_heads": heads, "n_kv_heads": heads, "head_dim": D // heads,
            "d_ff": keys.integer(f"{side}_ffn_dim", 1, LARGEST), "windows": (None,) * layers,
        }  # fmt: skip

    def write(config: Seq2SeqConfig) -> dict[str, Any]:
        written: dict[str, Any] = {
            "activation_function": next(w for w in _ACTS if _ACTS[w] == config.decoder.mlp),
            "max_position_embeddings": config.max_seq_len,
            "scale_embedding": config.decoder.embedding_scale != 1.0,
            "num_hidden_layers": config.encoder.n_layers,
        }
        for side in ("encoder", "decoder"):
            stack = getattr(config, side)
            written |= {
                f"{side}_layers": stack.n_layers, f"{side}_attention_heads": stack.n_heads,
                f"{side}_ffn_dim": stack.d_ff,
            }  # fmt: skip
        return written

    def names(config: Seq2SeqConfig) -> Names:
        whole = {"model.embed_tokens": "model.shared", LOGITS_BIAS: "final_logits_bias"}
        for side in ("encoder", "decoder"):
            whole[f"model.{side}.embed_norm"] = f"model.{side}.layernorm_embedding"
        return Names(
            whole=whole | _in_layers(config, lambda side, i: f"model.{side}.layers.{i}", _LAYER),
            buffers=(
                "encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
                *(() if embedding_norm else ("embed_positions.weight",)),
            ),
        )  # fmt: skip

    return Seq2SeqFamily(
        architecture=architecture,
        sizes=_BART_SIZES,
        new=new or {},
        read=read,
        write=write,
        names=names,
    )


def _in_layers(
    config: Seq2SeqConfig, layer: Callable[[str, int], str], within: dict[str, str]
) -> dict[str, str]:
    """Name every module of both stacks' layers."""
    modules = {name.rpartition(".")[0] for name in seq2seq_shapes(config)}
    found = {}
    for module in modules:
        if ".layers." in module:
            _, side, _, index, rest = module.split(".", 4)
            found[module] = f"{layer(side, int(index))}.{within.get(rest, rest)}"
    return found


_FORWARDS = {"relu": "relu", "gated-gelu": "geglu_tanh"}
_T5_SIZES = {
    "d_model": ("d_model",),
    "d_ff": ("d_ff",),
    "n_layers": ("num_layers",),
    "n_heads": ("num_heads",),
    "head_dim": ("d_kv",),
    "max_seq_len": ("n_positions",),
}
_T5_ATTENTION = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o"}


def _read_t5(keys: KeyReader, name: str) -> Seq2SeqConfig:
    vocab_size, D = keys.integer("vocab_size", 1, LARGEST), keys.integer("d_model", 1, LARGEST)
    heads = keys.integer("num_heads", 1, LARGEST)
    layers = keys.integer("num_layers", 1, 10000)
    mlp = keys.string("feed_forward_proj", tuple(_FORWARDS), "relu")
    require(
        keys, is_gated_act=mlp == "gated-gelu",
        dense_act_fn="gelu_new" if mlp == "gated-gelu" else "relu",
    )  # fmt: skip
    tied = keys.boolean("tie_word_embeddings", True)
    common: dict[str, Any] = {
        "family": name, "vocab_size": vocab_size, "d_model": D, "n_heads": heads,
        "n_kv_heads": heads, "head_dim": keys.integer("d_kv", 1, LARGEST),
        "d_ff": keys.integer("d_ff", 1, LARGEST),
        "max_seq_len": keys.integer("n_positions", 1, LARGEST, default=512),
        "norm_eps": keys.number("layer_norm_epsilon", *EPS_RANGE, 1e-6),
        "mlp": _FORWARDS[mlp],
        "attention_scale": 1.0,
        "positions": Relative(
            n_buckets=keys.integer("relative_attention_num_buckets", 4, 2**16, default=32),
            max_distance=keys.integer("relative_attention_max_distance", 2, LARGEST, default=128),
        ),
    }  # fmt: skip
    after = keys.integer("num_decoder_layers", 1, 10000, default=layers)
    return Seq2SeqConfig(
        family=name,
        encoder=SourceConfig(**common, layout="pre", n_layers=layers, windows=(None,) * layers),
        decoder=TargetConfig(**common, layout="pre_cross", n_layers=after, windows=(None,) * after),
        tie_embeddings=tied,
        head_scale=D**-0.5 if keys.boolean("scale_decoder_outputs", tied) else 1.0,
        **_tokens(keys, vocab_size),
    )


def _write_t5(config: Seq2SeqConfig) -> dict[str, Any]:
    stack, positions = config.decoder, config.decoder.positions
    assert isinstance(positions, Relative)
    return {
        "num_layers": config.encoder.n_layers,
        "num_decoder_layers": stack.n_layers,
        "num_heads": stack.n_heads,
        "d_kv": stack.head_dim,
        "d_ff": stack.d_ff,
        "n_positions": config.max_seq_len,
        "layer_norm_epsilon": stack.norm_eps,
        "feed_forward_proj": next(w for w in _FORWARDS if _FORWARDS[w] == stack.mlp),
        "relative_attention_num_buckets": positions.n_buckets,
        "relative_attention_max_distance": positions.max_distance,
        "scale_decoder_outputs": config.head_scale != 1.0,
    }


def _names_t5(config: Seq2SeqConfig) -> Names:
    first = "block.0.layer.0.SelfAttention.relative_attention_bias"
    whole = {"model.embed_tokens": "shared"}
    up = "wi" if config.decoder.mlp == "relu" else "wi_1"
    within: dict[str, dict[str, str]] = {}
    for side, last in (("encoder", 1), ("decoder", 2)):
        whole[f"model.{side}.embed_positions"] = f"{side}.{first}"
        whole[f"model.{side}.norm"] = f"{side}.final_layer_norm"
        within[side] = {
            "input_layernorm": "layer.0.layer_norm",
            "pre_cross_layernorm": "layer.1.layer_norm",
            "post_attention_layernorm": f"layer.{last}.layer_norm",
            **{f"self_attn.{x}": f"layer.0.SelfAttention.{y}" for x, y in _T5_ATTENTION.items()},
            **{f"cross_attn.{x}": f"layer.1.EncDecAttention.{y}" for x, y in _T5_ATTENTION.items()},
            "mlp.gate_proj": f"layer.{last}.DenseReluDense.wi_0",
            "mlp.up_proj": f"layer.{last}.DenseReluDense.{up}",
            "mlp.down_proj": f"layer.{last}.DenseReluDense.wo",
        }  # fmt: skip
        inside = _in_layers(config, lambda side, i: f"{side}.block.{i}", within[side])
        whole |= {module: x for module, x in inside.items() if module.startswith(f"model.{side}.")}
    return Names(
        whole=whole,
        buffers=(
            "encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
            # T5's first code gave cross-attention a table, too, which it never read.
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
        ),
    )  # fmt: skip


# Marian: Junczys-Dowmunt et al. 2018 (arXiv:1804.00344). BART: Lewis et al. 2019
# (arXiv:1910.13461). T5: Raffel et al. 2019 (arXiv:1910.10683); its 1.1: Shazeer 2020
# (arXiv:2002.05202).
SEQ2SEQ_FAMILIES = {
    "marian": _bart(
        "MarianMTModel",
        positions=SinusoidalHalves(),
        embedding_norm=False,
        act="gelu",
        new={"scale_embedding": True, "activation_function": "relu"},  # as in Vaswani et al. 2017
    ),
    "bart": _bart(
        "BartForConditionalGeneration", positions=Learned(offset=2), embedding_norm=True, act="gelu"
    ),
    "t5": Seq2SeqFamily(
        architecture="T5ForConditionalGeneration",
        sizes=_T5_SIZES,
        read=_read_t5,
        write=_write_t5,
        names=_names_t5,
    ),
}
