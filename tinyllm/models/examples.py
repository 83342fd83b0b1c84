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
    "max_position_embeddings": 16, "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip
_ROPE = {"rope_theta": 100.0}
_RECURRENT = {
    "vocab_size": 11, "embedding_size": 5, "hidden_size": 4, "num_hidden_layers": 2,
    "tie_word_embeddings": False,
}  # fmt: skip
_SOME_WINDOWS = {
    "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1,
    "layer_types": ["full_attention", "sliding_attention"],
}  # fmt: skip

EXAMPLES: dict[str, dict[str, Any]] = {
    "llama": {**_DECODER, **_ROPE, "attention_bias": True, "mlp_bias": True},
    "mistral": {**_DECODER, **_ROPE, "sliding_window": 3},
    "qwen2": {**_DECODER, **_ROPE, **_SOME_WINDOWS, "tie_word_embeddings": True},
    "qwen3": {**_DECODER, **_ROPE, "sliding_window": None},
    "tinyllm": {**_DECODER, "positions": "learned", "embedding_scale": 2.5},
    "tinyllm-sinusoidal": {**_DECODER, "positions": "sinusoidal", "embedding_scale": 2.5},
    "tinyllm-alibi": {**_DECODER, "positions": "alibi"},
    "tinyllm-none": {**_DECODER, "positions": "none"},
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
