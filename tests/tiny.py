"""Tiny random decoders of every shape that the families allow."""

import numpy as np
from hypothesis import strategies as st

from tinyllm.models.config import DecoderConfig, param_shapes
from tinyllm.models.positions import WITHOUT_NUMBERS
from tinyllm.models.rope import Rope
from tinyllm.params import nest

ROPES = {
    "default": Rope(theta=100.0),
    "linear": Rope(theta=100.0, kind="linear", factor=3.0),
    "dynamic": Rope(theta=100.0, kind="dynamic", factor=3.0, original_context=1000),
    "llama3": Rope(theta=100.0, kind="llama3", factor=4.0, original_context=16),
    "yarn": Rope(theta=100.0, kind="yarn", factor=4.0, original_context=16, scale=1.2),
}
POSITIONS = ROPES | WITHOUT_NUMBERS


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


configs = st.builds(
    lambda heads, head_dim, windows, bias, qk_norm, tied, positions: tiny_config(
        n_heads=heads[0], n_kv_heads=heads[1], head_dim=head_dim, windows=windows, qkv_bias=bias,
        o_bias=bias, mlp_bias=bias, qk_norm=qk_norm, tie_embeddings=tied,
        positions=POSITIONS[positions], embedding_scale=1.0 if positions in ROPES else 2.5,
    ),
    st.sampled_from([(1, 1), (4, 1), (4, 2), (3, 3)]),
    st.sampled_from([2, 4, 6]),
    st.sampled_from([(None, None), (1, 1), (2, 2), (5, 5), (None, 2), (3, None)]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(POSITIONS)),
)  # fmt: skip
