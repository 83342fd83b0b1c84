"""Random parameters for a recurrent language model that is yet to be trained."""

import math
from typing import Any

import numpy as np

from tinyllm.models.recurrent_config import RecurrentConfig, recurrent_shapes

TABLES = 0.1  # the largest entry of an embedding or a head


def init_recurrent_params(
    config: RecurrentConfig, rng: np.random.Generator, dtype: Any = np.float32
) -> dict[str, Any]:
    """Draw what belongs to a layer from ±1/√D, as PyTorch does, and tables from ±0.1.

    An LSTM's forget gates begin with a bias 1 higher, so that σ(f) is about 0.73 and not 0.5, and
    a gradient reaches back further (Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba &
    Sutskever 2015, "An empirical exploration of recurrent network architectures", section 2.1).
    Arrays are NumPy's: the draws are the same for all backends.
    """
    D = config.d_model
    params: dict[str, Any] = {}
    for name, shape in recurrent_shapes(config).items():
        largest = 1.0 / math.sqrt(D) if ".rnn." in name else TABLES
        drawn = largest * (2.0 * rng.random(shape, np.float32) - 1.0)
        if "bias_ih" in name and config.cell.gates == 4:
            drawn[D : 2 * D] += 1.0
        params[name] = drawn.astype(dtype, copy=False)
    return params
