"""Tiny random recurrent language models, of every cell."""

import numpy as np
from hypothesis import strategies as st

from tinyllm.models.recurrent_config import CELLS, RecurrentConfig, recurrent_shapes


def tiny_recurrent(family="lstm", **changes):
    return RecurrentConfig(
        **{"family": family, "vocab_size": 11, "d_embed": 4, "d_model": 5, "n_layers": 2, **changes}
    )


def random_recurrent_params(config, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    shapes = recurrent_shapes(config).items()
    return {name: (0.7 * rng.standard_normal(shape)).astype(dtype) for name, shape in shapes}


recurrent_configs = st.builds(
    lambda family, d, tied, n_layers: tiny_recurrent(
        family, d_embed=5 if tied else d, tie_embeddings=tied, n_layers=n_layers
    ),
    st.sampled_from(list(CELLS)),
    st.integers(1, 4),
    st.booleans(),
    st.integers(1, 3),
)
