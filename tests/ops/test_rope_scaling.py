"""tinyllm.ops.rope_scaling"""

import math

import numpy as np
import pytest

from tinyllm.ops import rope_scaling as scaling

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 8192}


def test_default_frequencies_run_from_one_down_to_one_over_theta():
    freq = scaling.default_frequencies(10000.0, 8)
    np.testing.assert_allclose(freq, [1.0, 0.1, 0.01, 0.001], rtol=1e-15)


def test_linear_scaling_slows_every_clock_alike():
    freq = scaling.default_frequencies(10000.0, 8)
    np.testing.assert_allclose(scaling.linear_frequencies(10000.0, 8, factor=4.0), freq / 4)


def test_dynamic_scaling_changes_nothing_within_the_original_context():
    freq = scaling.default_frequencies(10000.0, 8)
    for context in (1, 99, 100):
        same = scaling.dynamic_frequencies(
            10000.0, 8, factor=4.0, original_context=100, context=context
        )
        np.testing.assert_array_equal(same, freq)


def test_dynamic_scaling_beyond_it_slows_the_slowest_clock_the_most():
    freq = scaling.default_frequencies(10000.0, 8)
    new = scaling.dynamic_frequencies(10000.0, 8, factor=4.0, original_context=100, context=200)
    ratio = freq / new
    assert ratio[0] == 1.0
    assert (np.diff(ratio) > 0).all()
    assert ratio[-1] == pytest.approx(4.0 * 2 - 3)  # the whole stretch, on the last pair


def test_llama3_keeps_fast_clocks_slows_slow_ones_and_is_continuous():
    freq = scaling.default_frequencies(500000.0, 128)
    ratio = freq / scaling.llama3_frequencies(500000.0, 128, **LLAMA3)
    turns = 8192 * freq / (2 * math.pi)
    np.testing.assert_allclose(ratio[turns > 4], 1.0, rtol=1e-15)
    np.testing.assert_allclose(ratio[turns < 1], 8.0, rtol=1e-15)
    assert ((ratio[(turns > 1) & (turns < 4)] > 1) & (ratio[(turns > 1) & (turns < 4)] < 8)).all()
    assert (np.diff(ratio) >= -1e-12).all()


def test_yarn_keeps_fast_clocks_and_slows_slow_ones():
    freq = scaling.default_frequencies(10000.0, 64)
    ratio = freq / scaling.yarn_frequencies(10000.0, 64, factor=16.0, original_context=2048)
    assert ratio[0] == 1.0
    assert ratio[-1] == pytest.approx(16.0)
    assert (np.diff(ratio) >= 0).all()


def test_yarn_survives_a_ramp_of_no_width():
    freq = scaling.yarn_frequencies(
        10000.0, 4, factor=2.0, original_context=4, beta_fast=100.0, beta_slow=99.0
    )
    assert np.isfinite(freq).all()


def test_yarn_sharpens_only_what_it_stretches():
    assert scaling.yarn_scale(1.0) == 1.0
    assert scaling.yarn_scale(math.e, 2.0) == pytest.approx(1.2)


ROPE_PARAMETERS = {
    "default": {},
    "linear": {"factor": 3.0},
    "dynamic": {"factor": 3.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
}


@pytest.mark.parity
@pytest.mark.parametrize("kind", ROPE_PARAMETERS)
@pytest.mark.parametrize("seq_len", [32, 400])
def test_frequencies_equal_those_of_transformers(kind, seq_len):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from unittest import mock

    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = {"rope_type": kind, "rope_theta": 10000.0, **ROPE_PARAMETERS[kind]}
    config = transformers.LlamaConfig(
        hidden_size=64,
        num_attention_heads=2,
        max_position_embeddings=256,
        rope_parameters=parameters,
    )
    dim = 32
    match kind:
        case "default":
            ours, scale = scaling.default_frequencies(10000.0, dim), 1.0
        case "linear":
            ours, scale = scaling.linear_frequencies(10000.0, dim, factor=3.0), 1.0
        case "dynamic":
            ours, scale = (
                scaling.dynamic_frequencies(
                    10000.0, dim, factor=3.0, original_context=256, context=seq_len
                ),
                1.0,
            )
        case "llama3":
            ours, scale = (
                scaling.llama3_frequencies(10000.0, dim, **(LLAMA3 | {"original_context": 64})),
                1.0,
            )
        case "yarn":
            ours = scaling.yarn_frequencies(10000.0, dim, factor=4.0, original_context=64)
            scale = scaling.yarn_scale(4.0)
    if kind == "default":
        model = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
        theirs, their_scale = model.inv_freq, model.attention_scaling
        tolerance = 2e-7  # kept in float32
    else:
        with (
            mock.patch.object(torch, "float32", torch.float64),
            mock.patch.object(torch, "float", torch.float64),
        ):
            theirs, their_scale = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=seq_len)
        tolerance = 1e-13
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=tolerance)
    assert scale == pytest.approx(their_scale, rel=1e-15)
