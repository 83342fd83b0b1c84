"""tinyllm.models.families: what the configs of each family say."""

import dataclasses

import pytest

from models.published import published_config
from tinyllm.errors import ConfigError
from tinyllm.models.config_json import read_config_json, write_config_json
from tinyllm.models.positions import Alibi, FalconAlibi, Learned
from tinyllm.models.rope import Rope


def gpt2(D, L, H, **more):
    return {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_ctx": 1024,
            "n_embd": D, "n_layer": L, "n_head": H, "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new", "resid_pdrop": 0.1, "summary_type": "cls_index",
            "task_specific_params": {"text-generation": {"do_sample": True}}, **more}  # fmt: skip


def opt(D, L, H, **more):
    return {"model_type": "opt", "vocab_size": 50272, "hidden_size": D, "num_hidden_layers": L,
            "num_attention_heads": H, "ffn_dim": 4 * D, "max_position_embeddings": 2048,
            "word_embed_proj_dim": D, "activation_function": "relu", "dropout": 0.1,
            "do_layer_norm_before": True, "_remove_final_layer_norm": False,
            "prefix": "</s>", **more}  # fmt: skip


def bloom(D, L, H, **more):
    return {"model_type": "bloom", "vocab_size": 250880, "n_embed": D, "n_layer": L,
            "num_attention_heads": H, "layer_norm_epsilon": 1e-5, "n_inner": None,
            "offset_alibi": 100, "skip_bias_add": True, "skip_bias_add_qkv": False,
            "masked_softmax_fusion": True, "unk_token_id": 0, "pretraining_tp": 4,
            **more}  # fmt: skip


def neox(D, L, H, V=50304, **more):
    return {"model_type": "gpt_neox", "vocab_size": V, "hidden_size": D, "num_hidden_layers": L,
            "num_attention_heads": H, "intermediate_size": 4 * D, "layer_norm_eps": 1e-5,
            "max_position_embeddings": 2048, "hidden_act": "gelu", "rotary_pct": 0.25,
            "rotary_emb_base": 10000, "use_parallel_residual": True,
            "tie_word_embeddings": False, **more}  # fmt: skip


def mpt(D, L, H, S, **more):
    return {"model_type": "mpt", "vocab_size": 50432, "d_model": D, "n_layers": L, "n_heads": H,
            "max_seq_len": S, "expansion_ratio": 4, "no_bias": True, "learned_pos_emb": True,
            "norm_type": "low_precision_layernorm", "logit_scale": None,
            "attn_config": {"alibi": True, "alibi_bias_max": 8, "attn_impl": "torch",
                            "attn_type": "multihead_attention", "clip_qkv": None, "qk_ln": False},
            "init_config": {"name": "kaiming_normal_"}, **more}  # fmt: skip


def falcon(D, L, H, **more):
    return {"model_type": "falcon", "vocab_size": 65024, "hidden_size": D, "num_hidden_layers": L,
            "num_attention_heads": H, "layer_norm_epsilon": 1e-5, "alibi": False, "bias": False,
            "multi_query": True, "parallel_attn": True, "new_decoder_architecture": False,
            **more}  # fmt: skip


def gemma2(D, F, L, H, K, **more):
    return {"model_type": "gemma2", "vocab_size": 256000, "hidden_size": D, "intermediate_size": F,
            "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": K,
            "head_dim": 256, "rms_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256,
            "max_position_embeddings": 8192, "sliding_window": 4096, "rope_theta": 10000.0,
            **more}  # fmt: skip


def read(values):
    return read_config_json({k: v for k, v in values.items() if v is not ...}, "config.json")


MADE_OF = {
    "openai-community/gpt2": ("pre", "layernorm", "gelu_tanh", Learned()),
    "facebook/opt-125m": ("pre", "layernorm", "relu", Learned(offset=2)),
    "bigscience/bloom-3b": ("pre", "layernorm", "gelu_bloom", Alibi()),
    "mosaicml/mpt-7b": ("pre", "layernorm_without_bias", "gelu", Alibi()),
    "EleutherAI/pythia-2.8b": ("parallel", "layernorm", "gelu", Rope(theta=10000.0, fraction=0.25)),
    "tiiuae/falcon-7b": ("parallel_one_norm", "layernorm", "gelu", Rope(theta=10000.0)),
    "tiiuae/falcon-40b": ("parallel", "layernorm", "gelu", Rope(theta=10000.0)),
    "google/gemma-2-2b": ("sandwich", "rmsnorm_plus_one", "geglu_tanh", Rope(theta=10000.0)),
}


@pytest.mark.parametrize("name", MADE_OF)
def test_what_the_families_are_made_of(name):
    config = published_config(name)
    assert (config.layout, config.norm, config.mlp, config.positions) == MADE_OF[name]
    assert config.tie_embeddings == (name != "EleutherAI/pythia-2.8b")


def test_what_only_some_families_have():
    falcons = [published_config(f"tiiuae/falcon-{size}") for size in ("7b", "40b")]
    assert [config.n_kv_heads for config in falcons] == [1, 8]
    assert published_config("bigscience/bloom-3b").embedding_norm
    gemma = published_config("google/gemma-2-2b")
    assert gemma.windows == (4096, None) * 13
    assert (gemma.attention_softcap, gemma.logit_softcap) == (50.0, 30.0)
    assert (gemma.attention_scale, gemma.embedding_scale) == (1 / 16, 48.0)


SMALL = {
    "gpt2": gpt2(12, 2, 3, vocab_size=7),
    "opt": opt(12, 2, 3, vocab_size=7),
    "bloom": bloom(12, 2, 3, vocab_size=7),
    "gpt_neox": neox(16, 2, 2, V=7),
    "mpt": mpt(12, 2, 3, 9, vocab_size=7),
    "falcon": falcon(12, 2, 3, vocab_size=7),
    "gemma2": gemma2(12, 9, 2, 3, 1, vocab_size=7),
}
MEANS = [  # what a key means: family, changes, fields
    ("gpt2", {"n_inner": 5}, {"d_ff": 5}),
    ("gpt2", {"n_inner": None}, {"d_ff": 48}),
    ("gpt2", {"n_embd": ..., "hidden_size": 24}, {"d_model": 24}),
    ("gpt2", {"layer_norm_epsilon": ...}, {"norm_eps": 1e-5}),
    ("gpt2", {"activation_function": "gelu"}, {"mlp": "gelu"}),
    ("gpt2", {"activation_function": "gelu_pytorch_tanh"}, {"mlp": "gelu_tanh"}),
    ("gpt2", {"tie_word_embeddings": False}, {"tie_embeddings": False}),
    ("opt", {"activation_function": "gelu"}, {"mlp": "gelu"}),
    ("opt", {"enable_bias": False}, {"qkv_bias": False, "o_bias": False, "mlp_bias": False}),
    ("opt", {"do_layer_norm_before": False}, {"layout": "post"}),
    ("opt", {"word_embed_proj_dim": 6}, {"embed_dim": 6}),
    ("opt", {"word_embed_proj_dim": 12}, {"embed_dim": None}),
    ("bloom", {"seq_length": 9}, {"max_seq_len": 9}),
    ("bloom", {}, {"max_seq_len": 2048, "qkv_bias": True}),
    ("gpt_neox", {"use_parallel_residual": False}, {"layout": "pre"}),
    ("gpt_neox", {"attention_bias": False}, {"qkv_bias": False, "mlp_bias": True}),
    ("gpt_neox", {"rotary_pct": ...}, {"positions": Rope(theta=10000.0, fraction=0.25)}),
    ("gpt_neox", {"rotary_pct": 1.0}, {"positions": Rope(theta=10000.0)}),
    ("gpt_neox", {"rotary_pct": ..., "rotary_emb_base": ...,
                  "rope_parameters": {"rope_type": "default", "rope_theta": 5e5,
                                      "partial_rotary_factor": 0.5}},
     {"positions": Rope(theta=5e5, fraction=0.5)}),
    ("mpt", {"attn_config": {"clip_qkv": 6}}, {"qkv_clip": 6.0}),
    ("mpt", {"attn_config": {"clip_qkv": 0, "softmax_scale": 0.5}},
     {"qkv_clip": None, "attention_scale": 0.5}),
    ("mpt", {"attn_config": ...}, {"qkv_clip": None, "attention_scale": None}),
    ("falcon", {"multi_query": False}, {"n_kv_heads": 3}),
    ("falcon", {"multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
     {"layout": "pre", "positions": FalconAlibi(), "o_bias": True}),
    ("falcon", {"num_kv_heads": 3}, {"n_kv_heads": 1}),
    ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 3},
     {"n_kv_heads": 3, "layout": "parallel"}),
    ("falcon", {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1},
     {"n_kv_heads": 3, "layout": "parallel_one_norm"}),
    ("falcon", {"ffn_hidden_size": 5}, {"d_ff": 5}),
    ("gemma2", {"final_logit_softcapping": None, "attn_logit_softcapping": ...},
     {"logit_softcap": None, "attention_softcap": 50.0}),
    ("gemma2", {"layer_types": ["full_attention", "sliding_attention"]}, {"windows": (None, 4096)}),
    ("gemma2", {"hidden_activation": ...}, {"mlp": "geglu_tanh"}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "changes", "means"), MEANS)
def test_what_a_key_means(family, changes, means):
    config = read(SMALL[family] | changes)
    assert {name: getattr(config, name) for name in means} == means
    assert read_config_json(write_config_json(config, "float32"), "again") == config


CODE = {"AutoConfig": "configuration_{0}.Config", "AutoModelForCausalLM": "x/y--modeling_{0}.Model"}


@pytest.mark.parametrize("family", ["falcon", "mpt"])
def test_code_that_became_a_family_is_not_needed(family):
    code = {key: value.format(family) for key, value in CODE.items()}
    architectures = {"architectures": ["MPTForCausalLM"]} if family == "mpt" else {}
    config = read(SMALL[family] | {"auto_map": code, **architectures})
    assert config == read(SMALL[family])
    for other in (code | {"AutoTokenizer": "tokenization.X"}, "modeling_falcon", {"a": 3}):
        with pytest.raises(ConfigError, match="needs code of its own"):
            read(SMALL[family] | {"auto_map": other})
    with pytest.raises(ConfigError, match="needs code of its own"):
        read(SMALL["gpt2"] | {"auto_map": code})


REFUSED = [
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
    ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights is False"),
    ("gpt2", {"reorder_and_upcast_attn": True}, "reorder_and_upcast_attn"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
    ("gpt2", {"hidden_size": 13}, "n_embd is 12; and hidden_size says 13"),
    ("gpt2", {"n_head": 5}, "n_embd is 12; expected a multiple of 5 heads"),
    ("gpt2", {"n_embd": ...}, "n_embd is missing"),
    ("gpt2", {"activation_function": "swish"}, "activation_function is 'swish'"),
    ("gpt2", {"rope_theta": 1e4}, "does not know rope_theta"),
    ("gpt2", {"rms_norm_eps": 1e-5}, "does not know rms_norm_eps"),
    ("gpt2", {"architectures": ["GPT2ForSequenceClassification"]}, "architectures"),
    ("opt", {"word_embed_proj_dim": 0}, "word_embed_proj_dim is 0"),
    ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm is True"),
    ("opt", {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine"),
    ("opt", {"max_position_embeddings": ...}, "max_position_embeddings is missing"),
    ("bloom", {"apply_residual_connection_post_layernorm": True}, "apply_residual_connection"),
    ("bloom", {"n_inner": 7}, "n_inner is 7"),
    ("bloom", {"hidden_act": "relu"}, "does not know hidden_act"),
    ("gpt_neox", {"partial_rotary_factor": 0.5}, "rotary_pct is 0.25; and partial_rotary_factor"),
    ("gpt_neox", {"rotary_pct": 0.4}, "RoPE turns pairs"),
    ("gpt_neox", {"rotary_pct": 1.5}, "partial_rotary_factor is 1.5"),
    ("gpt_neox", {"hidden_act": "silu"}, "hidden_act is 'silu'"),
    ("mpt", {"attn_config": {"alibi": False}}, "attn_config: alibi is False"),
    ("mpt", {"attn_config": {"qk_ln": True}}, "qk_ln is True"),
    ("mpt", {"attn_config": {"prefix_lm": True}}, "prefix_lm is True"),
    ("mpt", {"attn_config": {"trick": 1}}, "attn_config: tinyllm does not know trick = 1"),
    ("mpt", {"attn_config": 3}, "attn_config is 3; expected an object"),
    ("mpt", {"logit_scale": 2.0}, "logit_scale is 2.0"),
    ("mpt", {"no_bias": False}, "no_bias is False"),
    ("mpt", {"expansion_ratio": 3}, "expansion_ratio is 3"),
    ("falcon", {"num_ln_in_parallel_attn": 3}, "num_ln_in_parallel_attn is 3"),
    ("falcon", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn is 2"),
    ("falcon", {"activation": "silu"}, "activation is 'silu'"),
    ("falcon", {"rope_scaling": {"type": "nope"}}, "type is 'nope'"),
    ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}, "num_kv_heads is 2"),
    ("gemma2", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
    ("gemma2", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar is 0"),
    ("gemma2", {"layer_types": ["full_attention"]}, "layer_types"),
    ("gemma2", {"rms_norm_eps": ...}, "rms_norm_eps is missing"),
]


@pytest.mark.parametrize(("family", "changes", "says"), REFUSED)
def test_refused(family, changes, says):
    with pytest.raises(ConfigError) as error:
        read(SMALL[family] | changes)
    assert says in str(error.value)
    assert str(error.value).startswith("config.json")
    assert "\n" not in str(error.value)


ODD = [None, True, 0, -1, 1.5, 2**63, 10**400, "", "a\nb", [], [[]], {}, {"a": [1]}]


@pytest.mark.parametrize("family", SMALL)
def test_any_value_under_any_key_is_understood_or_refused_in_one_line(family):
    said = []
    for key in [*SMALL[family], "rope_scaling", "layer_types", "num_kv_heads"]:
        for value in ODD:
            try:
                read(SMALL[family] | {key: value})
            except ConfigError as error:
                said.append(str(error))
    assert len(said) > 80
    assert [line for line in said if not line.isprintable()] == []


@pytest.mark.parametrize("family", SMALL)
def test_a_file_that_cannot_say_it_is_not_written(family):
    config = read(SMALL[family])
    for changes in ({"norm": "rmsnorm"}, {"mlp": "swiglu"}, {"qk_norm": True}):
        with pytest.raises(ConfigError, match="cannot hold this model's"):
            write_config_json(dataclasses.replace(config, **changes), "float32")
