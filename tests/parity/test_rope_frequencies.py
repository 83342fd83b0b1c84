"""RoPE's frequencies against those that transformers makes of the same config, of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.families import CONFIGS
from tinyllm.models.config_json import read_config_json
from tinyllm.models.rope import rope_frequencies

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from parity.oracle import float64_throughout, no_complaints  # noqa: E402

pytestmark = pytest.mark.parity
factors, lengths = st.floats(1.0, 64.0), st.integers(1, 8192)


@st.composite
def ropes(draw):
    kind = draw(st.sampled_from(["default", "linear", "dynamic", "llama3", "yarn"]))
    rope = {"rope_type": kind, "rope_theta": draw(st.floats(10.0, 1e7))}
    if kind != "default":
        rope["factor"] = draw(factors)
    if kind in ("llama3", "yarn"):
        rope["original_max_position_embeddings"] = draw(lengths)
    if kind == "llama3":
        rope["low_freq_factor"] = draw(st.floats(0.1, 4.0))
        rope["high_freq_factor"] = rope["low_freq_factor"] + draw(st.floats(0.1, 8.0))
    if kind == "yarn":
        rope |= draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "beta_fast": st.none() | st.floats(1.0, 64.0),
                    "beta_slow": st.none() | st.floats(0.01, 1.0),
                    "truncate": st.booleans(),
                    "attention_factor": st.none() | st.floats(0.1, 4.0),
                    "mscale": st.none() | st.sampled_from([0.0, 0.7, 1.0]),
                    "mscale_all_dim": st.none() | st.sampled_from([0.0, 0.4, 1.0]),
                },
            )
        )
    return rope


@settings(max_examples=150)
@given(
    rope=ropes(),
    half=st.integers(2, 64),
    max_seq_len=lengths,
    context=st.integers(1, 20000),
)
def test_frequencies_and_scale_are_those_of_transformers(rope, half, max_seq_len, context):
    keys = CONFIGS["mqa"] | {
        "head_dim": 2 * half,
        "max_position_embeddings": max_seq_len,
        "rope_parameters": rope,
    }
    config = read_config_json(dict(keys), "config.json")
    frequencies = rope_frequencies(config.positions, config.head_dim, context)
    expected = rotary_embedding(keys, context)
    np.testing.assert_allclose(frequencies, expected.inv_freq.numpy(), rtol=1e-12)
    assert abs(config.positions.scale - expected.attention_scaling) <= 1e-15


def test_a_rope_that_transformers_would_warn_about_is_noticed():
    keys = CONFIGS["yarn"] | {"rope_parameters": CONFIGS["yarn"]["rope_parameters"] | {"odd": 1}}
    with pytest.raises(AssertionError, match="odd"), no_complaints():
        transformers.AutoConfig.for_model(**keys)


def rotary_embedding(keys, context):
    """The embedding of a model that has just read a text of `context` tokens."""
    config = transformers.AutoConfig.for_model(
        **{**keys, "rope_parameters": {**keys["rope_parameters"]}}
    )
    with float64_throughout():
        embedding = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
        embedding(torch.zeros(1), torch.tensor([[0, context - 1]]))
    return embedding
