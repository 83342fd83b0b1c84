"""tinyllm.layers: the gradient of every layer, for every parameter, with and without biases."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import check_pair, rngs, sizes
from tinyllm.layers.attention import (
    merge_heads,
    self_attention_backward,
    self_attention_forward,
    split_heads,
)
from tinyllm.layers.blocks import Sublayers
from tinyllm.layers.layer import Layer
from tinyllm.layers.mlp import (
    GELU,
    GELU_BLOOM,
    GELU_TANH,
    SILU,
    gated_mlp_backward,
    gated_mlp_forward,
    mlp_backward,
    mlp_forward,
)
from tinyllm.layers.norms import NORMS
from tinyllm.models.layouts import LAYOUTS
from tinyllm.ops.attention import attention_mask
from tinyllm.params import flatten, nest


def check_layer(xp, forward, backward, x, shapes, rng, **options):
    """Hold a layer's gradients of x and of every parameter against central differences."""
    names = sorted(shapes)

    def flat_forward(xp, x, *weights):
        return forward(xp, x, nest(dict(zip(names, weights))), **options)

    def flat_backward(xp, dy, saved):
        dx, grads = backward(xp, dy, saved)
        grads = flatten(grads)
        assert set(grads) == set(names)
        return dx, *(grads[name] for name in names)

    flat_forward.__doc__ = forward.__doc__
    weights = [rng.standard_normal(shapes[name]) for name in names]
    check_pair(xp, flat_forward, flat_backward, x, *weights, rng=rng, tolerance=1e-6)


def linear(name, outputs, inputs, biased):
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if biased else {})


def plain_shapes(D, F, biased):
    return linear("up_proj", F, D, biased) | linear("down_proj", D, F, biased)


def gated_shapes(D, F, biased):
    return linear("gate_proj", F, D, biased) | plain_shapes(D, F, biased)


def attention_shapes(D, H, K, d, biased, normed=False):
    norms = {"q_norm.weight": (d,), "k_norm.weight": (d,)} if normed else {}
    return (
        norms
        | linear("q_proj", H * d, D, biased)
        | linear("k_proj", K * d, D, biased)
        | linear("v_proj", K * d, D, biased)
        | linear("o_proj", D, H * d, biased)
    )


MLPS = {
    "gated": (gated_mlp_forward, gated_mlp_backward, gated_shapes),
    "plain": (mlp_forward, mlp_backward, plain_shapes),
}
ACTIVATIONS = st.sampled_from([SILU, GELU, GELU_TANH, GELU_BLOOM])


@pytest.mark.parametrize("kind", MLPS)
@given(sizes, sizes, sizes, st.booleans(), ACTIVATIONS, rngs)
def test_feed_forward(xp, kind, T, D, F, biased, activation, rng):
    x, (forward, backward, shapes) = rng.standard_normal((2, T, D)), MLPS[kind]
    check_layer(xp, forward, backward, x, shapes(D, F, biased), rng, activation=activation)


@pytest.mark.parametrize("name", NORMS)
@given(sizes, st.integers(2, 5), rngs)
def test_norm(xp, name, T, D, rng):
    norm, x = NORMS[name], rng.standard_normal((2, T, D))
    shapes = dict.fromkeys(norm.parameters, (D,))
    check_layer(xp, norm.forward, norm.backward, x, shapes, rng, eps=0.1)


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_can_say_again_what_it_gave_and_has_a_neutral_weight(xp, name):
    norm, rng = NORMS[name], np.random.default_rng(0)
    x = xp.asarray(rng.standard_normal((2, 3, 5)))
    p = {part: xp.asarray(rng.standard_normal(5)) for part in norm.parameters}
    y, saved = norm.forward(xp, x, p, eps=1e-5)
    assert np.array_equal(xp.to_numpy(norm.output(xp, saved)), xp.to_numpy(y))
    neutral = p | {"weight": xp.asarray(np.full(5, norm.neutral))}
    if "bias" in p:
        neutral["bias"] = xp.asarray(np.zeros(5))
    y = xp.to_numpy(norm.forward(xp, x, neutral, eps=0.0)[0])
    np.testing.assert_allclose((y * y).mean(-1), 1.0, rtol=1e-12)


heads = st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3)])


def surroundings(xp, T, r, rng, H, K, window):
    positions = xp.asarray(np.arange(T))
    return {
        "n_heads": H,
        "n_kv_heads": K,
        "norm_eps": 0.1,  # smooth near 0
        "rotation": tuple(xp.asarray(rng.standard_normal((T, r))) for _ in range(2)),
        "mask": attention_mask(xp, positions, positions, window=window),
    }


def sublayers(around, norm="rmsnorm"):
    return Sublayers(
        norm=Layer(partial(NORMS[norm].forward, eps=0.1), NORMS[norm].backward),
        attention=Layer(partial(self_attention_forward, **around), self_attention_backward),
        mlp=Layer(partial(gated_mlp_forward, activation=SILU), gated_mlp_backward),
    )


options = st.sampled_from([{}, {}, {"scale": 0.3, "softcap": 2.0}, {"clip": 3.0}])


@given(sizes, sizes, heads, st.integers(1, 2), st.booleans(), st.booleans(), options, rngs)
def test_self_attention(xp, T, D, heads, r, biased, normed, options, rng):
    (H, K), x = heads, rng.standard_normal((2, T, D))
    shapes = attention_shapes(D, H, K, 2 * r, biased, normed)
    around = surroundings(xp, T, r, rng, H, K, window=None)
    around |= options
    check_layer(xp, self_attention_forward, self_attention_backward, x, shapes, rng, **around)


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=8)
@given(sizes, sizes, heads, st.booleans(), st.sampled_from(list(NORMS)), rngs)
def test_block(xp, name, T, F, heads, biased, norm, rng):
    (H, K), D, layout = heads, 3, LAYOUTS[name]
    x = rng.standard_normal((2, T, D))
    shapes = {
        **{f"{at}.{part}": (D,) for at in layout.norms for part in NORMS[norm].parameters},
        **{f"self_attn.{k}": v for k, v in attention_shapes(D, H, K, 4, biased).items()},
        **{f"mlp.{k}": v for k, v in gated_shapes(D, F, biased).items()},
    }
    around = surroundings(xp, T, 2, rng, H, K, window=2)
    check_layer(xp, layout.forward, layout.backward, x, shapes, rng, sub=sublayers(around, norm))


@given(sizes, sizes, sizes, rngs)
def test_the_feed_forward_layer_sees_one_position_at_a_time(xp, T, D, F, rng):
    p = nest({k: xp.asarray(rng.standard_normal(s)) for k, s in gated_shapes(D, F, True).items()})
    x = rng.standard_normal((1, T, D))

    def feed(x):
        return xp.to_numpy(gated_mlp_forward(xp, xp.asarray(x), p, activation=SILU)[0])

    whole = feed(x)
    for t in range(T):
        alone = feed(x[:, t : t + 1])
        np.testing.assert_allclose(alone, whole[:, t : t + 1], atol=1e-12)


@pytest.mark.parametrize("name", ["pre", "parallel", "parallel_one_norm", "sandwich"])
def test_a_block_with_silent_sublayers_is_the_identity(xp, name):
    rng, layout = np.random.default_rng(0), LAYOUTS[name]
    shapes = {f"self_attn.{k}": v for k, v in attention_shapes(4, 2, 1, 2, False).items()}
    shapes |= {f"mlp.{k}": v for k, v in gated_shapes(4, 3, False).items()}
    params = {k: rng.standard_normal(shape) for k, shape in shapes.items()}
    params["self_attn.o_proj.weight"] *= 0
    params["mlp.down_proj.weight"] *= 0
    params |= {f"{norm}.weight": np.ones(4) for norm in layout.norms}
    p = nest({k: xp.asarray(v) for k, v in params.items()})
    x, around = rng.standard_normal((1, 3, 4)), surroundings(xp, 3, 1, rng, 2, 1, None)
    y, saved = layout.forward(xp, xp.asarray(x), p, sublayers(around))
    assert np.array_equal(xp.to_numpy(y), x)
    if name != "sandwich":  # whose norms turn nothing into nothing, but not its gradient
        dx, _ = layout.backward(xp, xp.asarray(x), saved)
        assert np.array_equal(xp.to_numpy(dx), x)


def test_what_a_post_norm_block_gives_is_normalised(xp):
    rng, layout = np.random.default_rng(0), LAYOUTS["post"]
    shapes = {f"self_attn.{k}": v for k, v in attention_shapes(4, 2, 1, 2, False).items()}
    shapes |= {f"mlp.{k}": v for k, v in gated_shapes(4, 3, False).items()}
    params = {k: rng.standard_normal(shape) for k, shape in shapes.items()}
    params |= {f"{norm}.weight": np.ones(4) for norm in layout.norms}
    p = nest({k: xp.asarray(v) for k, v in params.items()})
    around = surroundings(xp, 3, 1, rng, 2, 1, None)
    x = xp.asarray(1000.0 * rng.standard_normal((1, 3, 4)))
    y = xp.to_numpy(layout.forward(xp, x, p, sublayers(around))[0])
    np.testing.assert_allclose((y * y).mean(-1), 1.0, rtol=0.1)


@given(sizes, sizes, sizes, st.integers(1, 4), rngs)
def test_merging_heads_undoes_splitting_them(xp, B, T, H, d, rng):
    x = rng.standard_normal((B, T, H * d))
    split = split_heads(xp, xp.asarray(x), H)
    assert split.shape == (B, H, T, d)
    assert np.array_equal(xp.to_numpy(merge_heads(xp, split)), x)


@pytest.mark.parametrize("T", [1, 4])
def test_attention_with_all_positions_equal_ignores_the_order_of_tokens(xp, T):
    """No position signal and no mask: permuting the tokens permutes the output."""
    rng = np.random.default_rng(1)
    shapes = attention_shapes(5, 2, 1, 4, True)
    p = nest({k: xp.asarray(rng.standard_normal(s)) for k, s in shapes.items()})
    rope = xp.asarray(np.ones((1, 2))), xp.asarray(np.zeros((1, 2)))
    x, order = rng.standard_normal((1, T, 5)), rng.permutation(T)

    def attend(x):
        y, _ = self_attention_forward(
            xp, xp.asarray(x), p, n_heads=2, n_kv_heads=1, norm_eps=1e-5, rotation=rope
        )
        return xp.to_numpy(y)

    np.testing.assert_allclose(attend(x[:, order]), attend(x)[:, order], atol=1e-12)
