"""Tiny random decoders of every shape that the families allow."""

import numpy as np
from hypothesis import strategies as st

from tinyllm.models.config import DecoderConfig, param_shapes
from tinyllm.models.positions import WITHOUT_NUMBERS, Learned
from tinyllm.models.rope import Rope
from tinyllm.params import nest

ROPES = {
    "default": Rope(theta=100.0),
    "linear": Rope(theta=100.0, kind="linear", factor=3.0),
    "dynamic": Rope(theta=100.0, kind="dynamic", factor=3.0, original_context=1000),
    "llama3": Rope(theta=100.0, kind="llama3", factor=4.0, original_context=16),
    "yarn": Rope(theta=100.0, kind="yarn", factor=4.0, original_context=16, scale=1.2),
}
POSITIONS = ROPES | WITHOUT_NUMBERS | {
    "partial": Rope(theta=100.0, fraction=0.5), "offset": Learned(offset=2),
}  # fmt: skip


def tiny_config(window=None, **changes):
    """Make a config; `window` is that of every layer."""
    n_layers = changes.setdefault("n_layers", 2)
    return DecoderConfig(
        **{
            "family": "llama", "vocab_size": 11, "d_model": 6, "d_ff": 7,
            "n_heads": 4, "n_kv_heads": 2, "head_dim": 4, "max_seq_len": 1000, "norm_eps": 1e-5,
            "positions": ROPES["default"], "windows": (window,) * n_layers,
            **changes,
        }
    )  # fmt: skip


def random_params(config, seed=0, dtype=np.float64):
    """Draw every parameter at a scale where each matters, norms and biases too."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.standard_normal(shape) * (0.5 if len(shape) == 2 else 0.3)
            + (1.0 if name.endswith("norm.weight") else 0.0)
        ).astype(dtype)
        for name, shape in param_shapes(config).items()
    }


def tree_of(xp, params):
    return nest({name: xp.asarray(value) for name, value in params.items()})


LLAMA = {}
STYLES = [  # what else the pieces of a model can be: each piece somewhere, and some together
    {"layout": "pre", "norm": "layernorm", "mlp": "gelu_tanh"},
    {"layout": "pre", "norm": "layernorm_without_bias", "mlp": "gelu", "qkv_clip": 0.5},
    {"layout": "post", "norm": "layernorm", "mlp": "relu"},
    {"layout": "parallel", "norm": "layernorm", "mlp": "gelu"},
    {"layout": "parallel_one_norm", "norm": "rmsnorm", "mlp": "gelu_bloom", "embedding_norm": True},
    {"layout": "sandwich", "norm": "rmsnorm_plus_one", "mlp": "geglu_tanh",
     "attention_scale": 0.3, "attention_softcap": 2.0, "logit_softcap": 3.0},
    {"layout": "sandwich", "norm": "layernorm", "mlp": "geglu", "embedding_norm": True},
]  # fmt: skip

configs = st.builds(
    lambda heads, head_dim, windows, bias, qk_norm, tied, positions, style: tiny_config(
        n_heads=heads[0], n_kv_heads=heads[1], head_dim=head_dim, windows=windows, qkv_bias=bias,
        o_bias=bias, mlp_bias=bias, qk_norm=qk_norm, tie_embeddings=tied,
        positions=POSITIONS[positions], embedding_scale=1.0 if positions in ROPES else 2.5,
        **style,
    ),
    st.sampled_from([(1, 1), (4, 1), (4, 2), (3, 3)]),
    st.sampled_from([4, 8]),
    st.sampled_from([(None, None), (1, 1), (2, 2), (5, 5), (None, 2), (3, None)]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(POSITIONS)),
    st.sampled_from([LLAMA] * len(STYLES) + STYLES),
)  # fmt: skip
