"""Random parameters for a model that is yet to be trained."""

import math
from typing import Any

import numpy as np

from tinyllm.layers.norms import NORMS
from tinyllm.models.config import DecoderConfig, StackConfig, param_shapes
from tinyllm.models.encoder_config import EncoderConfig, encoder_shapes
from tinyllm.models.feed_forward import Shapes

STD = 0.02  # of a matrix's entries


def init_params(
    config: DecoderConfig, rng: np.random.Generator, dtype: Any = np.float32
) -> dict[str, Any]:
    """Draw the parameters of a decoder: see `init_stack`."""
    return init_stack(config, param_shapes(config), rng, dtype)


def init_encoder(
    config: EncoderConfig, rng: np.random.Generator, dtype: Any = np.float32
) -> dict[str, Any]:
    """Draw the parameters of an encoder: see `init_stack`."""
    return init_stack(config, encoder_shapes(config), rng, dtype)


def init_stack(
    config: StackConfig, shapes: Shapes, rng: np.random.Generator, dtype: Any
) -> dict[str, Any]:
    """Draw matrices from Normal(0, 0.02²); norms start with a gain of 1, biases at 0.

    The two projections that write into the residual stream are 1/√(2L) times smaller, so that its
    variance does not grow with the L layers (Radford et al. 2019, "Language models are unsupervised
    multitask learners", section 2.3). Arrays are NumPy's: the draws are the same for all backends.
    """
    params: dict[str, Any] = {}
    for name, shape in shapes.items():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            params[name] = np.ones(shape, dtype)
        elif name.endswith("norm.weight"):
            params[name] = np.full(shape, NORMS[config.norm].neutral, dtype)
        elif name.endswith(".bias"):
            params[name] = np.zeros(shape, dtype)
        else:
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            std = STD / math.sqrt(2 * config.n_layers) if into_residual else STD
            params[name] = (std * rng.standard_normal(shape, np.float32)).astype(dtype, copy=False)
    return params
