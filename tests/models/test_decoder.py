"""tinyllm.models.decoder"""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapes import checked
from strategies import check_pair, rngs
from tiny import ROPES, configs, random_params, tiny_config, tree_of
from tinyllm.models.config import param_shapes
from tinyllm.models.decoder import decoder_backward, decoder_forward
from tinyllm.models.init import init_params
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.linear import linear_forward


def logits_of(xp, config, params, tokens):
    p = tree_of(xp, params)
    return xp.to_numpy(checked(decoder_forward)(xp, xp.asarray(tokens), p, config)[0])


@settings(max_examples=20)
@given(configs, st.integers(1, 6), st.sampled_from([0.0, 0.0, 0.3]), rngs)
def test_the_gradient_of_every_parameter(xp, config, T, rate, rng):
    config = dataclasses.replace(config, norm_eps=0.1)  # smooth near 0
    tokens = rng.integers(0, config.vocab_size, (2, T))
    names = list(param_shapes(config))
    weights = random_params(config, int(rng.integers(100))).values()

    def forward(xp, *weights):
        p = tree_of(xp, dict(zip(names, weights)))
        dropout = Dropout(rate=rate, rng=np.random.default_rng(1))  # the same masks at each call
        return decoder_forward(xp, xp.asarray(tokens), p, config, dropout)

    def backward(xp, dy, saved):
        dtokens, grads = decoder_backward(xp, dy, saved)
        assert dtokens is None
        assert set(grads) == set(names)
        return tuple(grads[name] for name in names)

    forward.__doc__ = "tokens (B, T) -> logits (B, T, V)"
    check_pair(xp, forward, backward, *weights, rng=rng, tolerance=1e-6)


class TestDropout:
    config, tokens = tiny_config(), np.array([[1, 2, 3], [4, 5, 6]])

    def run(self, xp, dropout, params=None):
        p = tree_of(xp, random_params(self.config) if params is None else params)
        return decoder_forward(xp, xp.asarray(self.tokens), p, self.config, dropout)

    def dropout(self, rate, seed=0):
        return Dropout(rate=rate, rng=np.random.default_rng(seed))

    def test_the_generator_decides_on_every_backend(self, xp):
        import tinyllm_numpy

        expected = self.run(tinyllm_numpy, self.dropout(0.4))[0]
        same, other = (xp.to_numpy(self.run(xp, self.dropout(0.4, s))[0]) for s in (0, 1))
        np.testing.assert_allclose(same, expected, atol=1e-12)
        assert not np.allclose(other, expected, atol=1e-3)

    def test_without_it_the_scores_are_those_of_rate_0(self, xp):
        none, zero = (xp.to_numpy(self.run(xp, d)[0]) for d in (None, self.dropout(0.0)))
        assert np.array_equal(none, zero)

    def test_it_falls_once_on_the_embedding_and_on_what_each_sublayer_adds(self, xp):
        """Follow the residual stream by hand, with the masks drawn in the order of computation."""
        s = self.run(xp, self.dropout(0.4))[1]
        rng, shape = np.random.default_rng(0), (*self.tokens.shape, self.config.d_model)
        masks = [(rng.random(shape, np.float32) >= np.float32(0.4)) / 0.6 for _ in range(5)]
        embedding = random_params(self.config)["model.embed_tokens.weight"]
        x = embedding[self.tokens] * masks[0]
        for i, layer in enumerate(s["layers"]):
            x = x + masks[1 + 2 * i] * xp.to_numpy(output(xp, layer["self_attn"]["o_proj"]))
            middle = xp.to_numpy(layer["post_attention_layernorm"][0])
            np.testing.assert_allclose(middle, x, atol=1e-12)
            x = x + masks[2 + 2 * i] * xp.to_numpy(output(xp, layer["mlp"]["down_proj"]))
        np.testing.assert_allclose(xp.to_numpy(s["norm"][0]), x, atol=1e-12)


def output(xp, saved):
    """What a projection gave, from its saved arguments."""
    return linear_forward(xp, *saved)[0]


@settings(max_examples=20)
@given(configs, st.integers(2, 8), rngs)
def test_a_later_token_changes_no_earlier_logit(xp, config, T, rng):
    params, tokens = random_params(config), rng.integers(0, config.vocab_size, (1, T))
    before, t = logits_of(xp, config, params, tokens), int(rng.integers(1, T))
    tokens[0, t:] = rng.integers(0, config.vocab_size, T - t)
    after = logits_of(xp, config, params, tokens)
    np.testing.assert_array_equal(after[:, :t], before[:, :t])


def test_a_window_hides_what_is_beyond_every_layers_reach(xp):
    config = tiny_config(window=2, n_layers=2)  # two layers of window 2 reach back 2 tokens
    params, tokens = random_params(config), np.array([[1, 2, 3, 4, 5, 6]])
    before = logits_of(xp, config, params, tokens)
    tokens[0, 0] = 9
    after = logits_of(xp, config, params, tokens)
    np.testing.assert_allclose(after[:, 3:], before[:, 3:], atol=1e-14)
    assert not np.allclose(after[:, 2], before[:, 2])


def test_a_window_as_long_as_the_text_changes_nothing(xp):
    tokens, params = np.array([[1, 2, 3, 4]]), random_params(tiny_config())
    np.testing.assert_array_equal(
        logits_of(xp, tiny_config(window=4), params, tokens),
        logits_of(xp, tiny_config(), params, tokens),
    )


def test_dynamic_scaling_moves_all_positions_once_the_text_is_long(xp):
    def rope(original):
        return type(ROPES["dynamic"])(
            theta=100.0, kind="dynamic", factor=3.0, original_context=original
        )

    config = tiny_config()
    tokens, params = np.arange(10)[None] % 11, random_params(config)
    plain = logits_of(xp, config, params, tokens)
    within = logits_of(xp, tiny_config(positions=rope(10)), params, tokens)
    beyond = logits_of(xp, tiny_config(positions=rope(9)), params, tokens)
    np.testing.assert_array_equal(within, plain)
    assert not np.allclose(beyond[:, 1:], plain[:, 1:], atol=1e-6)


def test_tied_models_have_no_head_of_their_own():
    shapes = param_shapes(tiny_config(tie_embeddings=True))
    assert "lm_head.weight" not in shapes
    assert list(param_shapes(tiny_config()))[-1] == "lm_head.weight"


def test_fresh_parameters_have_the_scale_of_gpt2():
    config = tiny_config(d_model=64, d_ff=96, vocab_size=200, qkv_bias=True)
    params = init_params(config, np.random.default_rng(0))
    assert {name: p.shape for name, p in params.items()} == param_shapes(config)
    assert all(p.dtype == np.float32 for p in params.values())
    assert params["model.embed_tokens.weight"].std() == pytest.approx(0.02, rel=0.05)
    down = params["model.layers.0.mlp.down_proj.weight"]
    assert down.std() == pytest.approx(0.02 / 2, rel=0.05)
    assert (params["model.norm.weight"] == 1).all()
    assert (params["model.layers.1.self_attn.k_proj.bias"] == 0).all()
