"""Llama-shaped configs and random tensors, for the tests of its formats."""

import numpy as np
from hypothesis import strategies as st


def llama(
    seed=0, *, dim=None, hidden=6, layers=2, heads=2, kv=1, d=4, vocab=7, length=5, tied=True
):
    """A Hugging Face config and its tensors in float32."""
    dim = heads * d if dim is None else dim
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": dim,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": vocab,
        "max_position_embeddings": length,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
    }
    if dim != heads * d:
        config["head_dim"] = d
    shapes = {"model.embed_tokens.weight": (vocab, dim), "model.norm.weight": (dim,)}
    for i in range(layers):
        shapes |= {
            f"model.layers.{i}.input_layernorm.weight": (dim,),
            f"model.layers.{i}.self_attn.q_proj.weight": (heads * d, dim),
            f"model.layers.{i}.self_attn.k_proj.weight": (kv * d, dim),
            f"model.layers.{i}.self_attn.v_proj.weight": (kv * d, dim),
            f"model.layers.{i}.self_attn.o_proj.weight": (dim, heads * d),
            f"model.layers.{i}.post_attention_layernorm.weight": (dim,),
            f"model.layers.{i}.mlp.gate_proj.weight": (hidden, dim),
            f"model.layers.{i}.mlp.up_proj.weight": (hidden, dim),
            f"model.layers.{i}.mlp.down_proj.weight": (dim, hidden),
        }
    if not tied:
        shapes["lm_head.weight"] = (vocab, dim)
    rng = np.random.default_rng(seed)
    return config, {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


@st.composite
def llamas(draw, derived=True):
    """Random shapes with grouped queries; head_dim is dim / heads where `derived`."""
    kv, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    d = 2 * draw(st.integers(1, 4))
    return llama(
        draw(st.integers(0, 99)),
        dim=None if derived else draw(st.integers(1, 9)),
        hidden=draw(st.integers(1, 9)),
        layers=draw(st.integers(1, 3)),
        heads=kv * group,
        kv=kv,
        d=d,
        vocab=draw(st.integers(1, 9)),
        length=draw(st.integers(1, 9)),
        tied=draw(st.booleans()),
    )


def assert_same(found, wanted):
    """The same names, dtypes, shapes and bits."""
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype, name
        assert found[name].shape == wanted[name].shape, name
        assert found[name].tobytes() == wanted[name].tobytes(), name
