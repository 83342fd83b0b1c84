"""Tiny models of every kind, by name: configs as files say them, and parameters that all matter.

    config = example_config("qwen3")
    params = random_params(config, np.random.default_rng(0))

A kind without a row here is not seen by the gradient check, or by a test that asks for one of each.
"""

from typing import Any

import numpy as np

from tinyllm.errors import UsageError
from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import Config, architecture, understand

# Sizes differ, so that swapped axes cannot hide. Two query heads share a key head.
_DECODER = {
    "vocab_size": 11, "hidden_size": 6, "intermediate_size": 7, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-2,
    "max_position_embeddings": 16, "tie_word_embeddings": False,
}  # fmt: skip
_ROPE = {"rope_theta": 100.0, "hidden_act": "silu"}
_RECURRENT = {
    "vocab_size": 11, "embedding_size": 5, "hidden_size": 4, "num_hidden_layers": 2,
    "tie_word_embeddings": False,
}  # fmt: skip
_BART = {
    "vocab_size": 11, "d_model": 6, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 2, "decoder_attention_heads": 3, "encoder_ffn_dim": 7,
    "decoder_ffn_dim": 5, "max_position_embeddings": 16, "pad_token_id": 1,
    "decoder_start_token_id": 2, "eos_token_id": 2,
}  # fmt: skip
_T5 = {
    "vocab_size": 11, "d_model": 6, "d_kv": 4, "num_heads": 3, "d_ff": 7, "num_layers": 2,
    "n_positions": 16, "relative_attention_num_buckets": 6, "relative_attention_max_distance": 5,
    "layer_norm_epsilon": 1e-2, "pad_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
_SOME_WINDOWS = {
    "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1,
    "layer_types": ["full_attention", "sliding_attention"],
}  # fmt: skip

_ENCODER = {
    "vocab_size": 11, "hidden_size": 6, "intermediate_size": 7, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 16, "layer_norm_eps": 1e-2,
    "type_vocab_size": 3, "pad_token_id": 0,
}  # fmt: skip
_GPT = {"vocab_size": 11, "layer_norm_epsilon": 1e-2}
_OPT = {
    "layer_norm_epsilon": None, "hidden_size": 6, "ffn_dim": 7, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 16,
}  # fmt: skip
_NEOX = {
    "vocab_size": 11, "hidden_size": 8, "intermediate_size": 7, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 16, "layer_norm_eps": 1e-2,
}  # fmt: skip
_FALCON = {
    **_GPT, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "ffn_hidden_size": 7, "max_position_embeddings": 16,
}  # fmt: skip
_DEEPSEEK = {
    "num_key_value_heads": 4, "head_dim": None, "q_lora_rank": 3, "kv_lora_rank": 5,
    "qk_nope_head_dim": 3, "qk_rope_head_dim": 4, "v_head_dim": 2, "n_routed_experts": 4,
    "n_shared_experts": 2, "num_experts_per_tok": 2, "moe_intermediate_size": 3,
    "first_k_dense_replace": 1, "routed_scaling_factor": 2.0,
}  # fmt: skip

EXAMPLES: dict[str, dict[str, Any]] = {
    "llama": {**_DECODER, **_ROPE, "attention_bias": True, "mlp_bias": True},
    "mistral": {**_DECODER, **_ROPE, "sliding_window": 3},
    "qwen2": {**_DECODER, **_ROPE, **_SOME_WINDOWS, "tie_word_embeddings": True},
    "qwen3": {**_DECODER, **_ROPE, "sliding_window": None},
    "gemma2": {**_DECODER, "layer_types": ["sliding_attention", "full_attention"],
               "sliding_window": 3, "query_pre_attn_scalar": 5, "attn_logit_softcapping": 2.0,
               "final_logit_softcapping": 3.0},
    "gpt2": {**_GPT, "n_embd": 6, "n_layer": 2, "n_head": 2, "n_inner": 7, "n_positions": 16},
    "opt": {**_GPT, **_OPT},
    "opt-post": {**_GPT, **_OPT, "do_layer_norm_before": False, "enable_bias": False},
    "opt-projected": {**_GPT, **_OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 5},
    "bloom": {**_GPT, "hidden_size": 6, "n_layer": 2, "n_head": 3},
    "mpt": {**_GPT, "d_model": 6, "n_layers": 2, "n_heads": 3, "max_seq_len": 16,
            "attn_config": {"clip_qkv": 2.0, "softmax_scale": 0.3}},
    "gpt_neox": {**_NEOX, "rotary_pct": 0.5},
    "gpt_neox-sequential": {**_NEOX, "rotary_pct": 1.0, "use_parallel_residual": False,
                            "hidden_act": "gelu_new"},
    "falcon": {**_FALCON},
    "falcon-new": {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon-rw": {**_FALCON, "multi_query": False, "parallel_attn": False, "alibi": True,
                  "bias": True},
    "mixtral": {**_DECODER, **_ROPE, "num_local_experts": 3, "num_experts_per_tok": 2},
    "deepseek_v2": {**_DECODER, **_ROPE, **_DEEPSEEK},
    "deepseek_v2-groups": {**_DECODER, **_ROPE, **_DEEPSEEK, "q_lora_rank": None, "n_group": 2,
                           "topk_method": "group_limited_greedy", "topk_group": 1},
    "tinyllm": {**_DECODER, "positions": "learned", "embedding_scale": 2.5},
    "tinyllm-sinusoidal": {**_DECODER, "positions": "sinusoidal", "embedding_scale": 2.5},
    "tinyllm-alibi": {**_DECODER, "positions": "alibi"},
    "tinyllm-narrow": {**_DECODER, "positions": "alibi", "embed_dim": 5, "embedding_scale": 2.5},
    "tinyllm-none": {**_DECODER, "positions": "none"},
    "tinyllm-post": {**_DECODER, "positions": "learned", "layout": "post", "norm": "layernorm",
                     "mlp": "gelu", "embedding_norm": True},
    "tinyllm-parallel": {**_DECODER, "positions": "alibi", "layout": "parallel",
                         "norm": "layernorm_without_bias", "mlp": "gelu_tanh", "qkv_clip": 1.0},
    "tinyllm-one-norm": {**_DECODER, "positions": "rope", "rope_theta": 100.0,
                         "layout": "parallel_one_norm", "norm": "layernorm", "mlp": "gelu_bloom"},
    "tinyllm-experts": {**_DECODER, "positions": "none",
                        "experts": {"n_experts": 3, "k": 2, "d_ff": 4, "shared_d_ff": 5,
                                    "first": 1}},
    "tinyllm-latent": {**_DECODER, "positions": "rope", "rope_theta": 100.0,
                       "latent": {"kv_rank": 5, "nope_dim": 3, "v_dim": 2}},
    "tinyllm-blocks": {**_DECODER, **_ROPE, "positions": "rope", "num_hidden_layers": 5,
                       "blocks": [{"layout": "mlp_only", "d_ff": 5}, {"d_ff": 3},
                                  {"layout": "linear"}, {"n_heads": 3, "n_kv_heads": 1},
                                  {"layout": "attention_only", "n_heads": 2, "n_kv_heads": 2}]},
    "tinyllm-sandwich": {**_DECODER, "positions": "rope", "rope_theta": 100.0,
                         "layout": "sandwich", "norm": "rmsnorm_plus_one", "mlp": "geglu_tanh",
                         "attention_scale": 0.3, "attention_softcap": 2.0, "logit_softcap": 3.0},
    "bert": {**_ENCODER},
    "bert-untied": {**_ENCODER, "architectures": ["BertForPreTraining"], "hidden_act": "gelu_new",
                    "tie_word_embeddings": False},
    "roberta": {**_ENCODER, "pad_token_id": 1},
    "marian": {**_BART, "scale_embedding": True, "activation_function": "relu"},
    "marian-swish": {**_BART, "scale_embedding": True, "activation_function": "swish"},
    "bart": _BART,
    "t5": _T5,
    "t5-v1.1": {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    **{
        name: {**_RECURRENT, "hidden_size": size, "tie_word_embeddings": size == 5}
        for name, size in {
            "rnn": 4, "rnn_relu": 4, "lstm": 5, "lstm_linear_candidate": 4, "gru": 4,
        }.items()
    },
}  # fmt: skip


def example_config(name: str) -> Config:
    """Return the config of a tiny model. Raises UsageError for a name that is not in `EXAMPLES`."""
    if name not in EXAMPLES:
        raise UsageError(f"there is no model {name!r}; there are {', '.join(EXAMPLES)}")
    values = {"model_type": name.partition("-")[0], **EXAMPLES[name]}
    return understand(KeyReader(values, name))


def random_params(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Draw every parameter in float64, at a scale where each matters: norms and biases, too."""
    return {
        name: rng.standard_normal(shape) * (0.5 if len(shape) == 2 else 0.3)
        + (1.0 if name.endswith("norm.weight") else 0.0)
        for name, shape in architecture(config).param_shapes(config).items()
    }
