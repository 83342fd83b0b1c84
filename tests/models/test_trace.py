"""tinyllm.models.trace"""

import numpy as np
import pytest

import tinyllm_numpy
from tiny import STYLES, random_params, tiny_config, tree_of
from tinyllm.errors import UsageError
from tinyllm.model import Model
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.encoder import encoded
from tinyllm.models.examples import example_config
from tinyllm.models.examples import random_params as example_params
from tinyllm.models.layouts import LAYOUTS
from tinyllm.models.stack import hidden_states
from tinyllm.models.trace import trace_names, traced
from tinyllm.params import nest

CONFIG = tiny_config()
B, T = 2, 5
TOKENS = np.arange(B * T).reshape(B, T) % CONFIG.vocab_size


@pytest.fixture
def run(xp):
    p = tree_of(xp, random_params(CONFIG))
    logits, saved = decoder_forward(xp, xp.asarray(TOKENS), p, CONFIG)
    names = trace_names(saved)
    return logits, {n: xp.to_numpy(a) for n, a in traced(xp, saved, names).items()}, p


def test_every_name_has_its_shape(run):
    _, seen, _ = run
    D, F, H, K, d = 6, 7, 4, 2, 4
    shapes = {
        "q": (B, H, T, d), "k": (B, K, T, d), "v": (B, K, T, d), "probs": (B, H, T, T),
        "heads": (B, T, H * d), "hidden": (B, T, F),
    }  # fmt: skip
    for name, activation in seen.items():
        assert activation.shape == shapes.get(name.split(".")[-1], (B, T, D)), name


def test_the_residual_stream_adds_up(run):
    _, seen, _ = run
    np.testing.assert_array_equal(seen["layers.0.input"], seen["embed_tokens"])
    for i in range(CONFIG.n_layers):
        at = f"layers.{i}"
        middle = seen[f"{at}.input"] + seen[f"{at}.self_attn"]
        np.testing.assert_array_equal(middle, seen[f"{at}.middle"])
        np.testing.assert_array_equal(middle + seen[f"{at}.mlp"], seen[at])
    np.testing.assert_array_equal(seen["layers.0"], seen["layers.1.input"])


def test_probabilities_and_the_head(run, xp):
    logits, seen, p = run
    np.testing.assert_allclose(seen["layers.1.self_attn.probs"].sum(-1), 1, rtol=1e-12)
    head = xp.to_numpy(p["lm_head"]["weight"])
    np.testing.assert_allclose(seen["norm"] @ head.T, xp.to_numpy(logits), atol=1e-12)


def test_an_unknown_name_gets_a_hint(xp):
    p = tree_of(xp, random_params(CONFIG))
    _, saved = decoder_forward(xp, xp.asarray(TOKENS), p, CONFIG)
    with pytest.raises(UsageError, match=r"'layers.0.mpl'; did you mean 'layers.0.mlp'\? tinyllm"):
        traced(xp, saved, ["layers.0.mpl"])
    with pytest.raises(UsageError, match="no activation"):
        traced(xp, saved, ["layers.2.mlp"])
    with pytest.raises(UsageError, match=r"no activation 'zzz'; tinyllm.models.trace has all"):
        traced(xp, saved, ["zzz"])
    with pytest.raises(UsageError, match=r"the names are 'norm', expected several: \['norm'\]"):
        traced(xp, saved, "norm")


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style["layout"])
def test_every_layout_can_be_traced(xp, style):
    """What the norms give is what stands between the parts; the parts add up as the layout says."""
    config = tiny_config(**style)
    p = tree_of(xp, random_params(config))
    _, saved = decoder_forward(xp, xp.asarray(TOKENS), p, config)
    seen = {n: xp.to_numpy(a) for n, a in traced(xp, saved, trace_names(saved)).items()}
    at = "layers.0"
    read, made, x = seen[f"{at}.self_attn"], seen[f"{at}.mlp"], seen[f"{at}.input"]
    norms = {n.split(".")[-1] for n in seen if n.startswith(at) and n.endswith("layernorm")}
    assert norms == set(LAYOUTS[config.layout].norms)
    match config.layout:
        case "pre":
            expected = seen[f"{at}.middle"] + made
        case "post":
            expected = seen[f"{at}.post_feedforward_layernorm"]
            np.testing.assert_array_equal(
                seen[f"{at}.post_attention_layernorm"], seen[f"{at}.middle"]
            )
            np.testing.assert_array_equal(seen["norm"], seen["layers.1"])
        case "sandwich":
            read = seen[f"{at}.post_attention_layernorm"]
            expected = seen[f"{at}.middle"] + seen[f"{at}.post_feedforward_layernorm"]
            np.testing.assert_allclose(x + read, seen[f"{at}.middle"], atol=1e-12)
        case _:
            expected = x + read + made
            assert f"{at}.middle" not in seen
    np.testing.assert_allclose(seen[at], expected, atol=1e-12)
    np.testing.assert_array_equal(seen[at], seen["layers.1.input"])


@pytest.mark.parametrize("name", ["bert", "opt-projected", "tinyllm-narrow", "gemma2"])
def test_what_the_head_is_given_is_the_hidden_state(name):
    """Also before a matrix that leads to a narrower table, and in encoders."""
    config = example_config(name)
    model = Model(config, example_params(config, np.random.default_rng(0)), xp=tinyllm_numpy)
    _, seen = model.trace([[1, 2, 3]], ["norm", "layers.1"])
    expected = hidden_states(tinyllm_numpy, np.array([[1, 2, 3]]), nest(model.params), config)
    if name == "bert":
        expected = encoded(tinyllm_numpy, np.array([[1, 2, 3]]), nest(model.params), config)
    np.testing.assert_allclose(seen["norm"], expected, rtol=0, atol=1e-12)
    assert seen["layers.1"].shape == expected.shape == (1, 3, config.d_model)
