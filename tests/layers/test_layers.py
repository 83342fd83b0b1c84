"""tinyllm.layers: the gradient of every layer, for every parameter, with and without biases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import check_pair, rngs, sizes
from tinyllm.layers.attention import (
    merge_heads,
    self_attention_backward,
    self_attention_forward,
    split_heads,
)
from tinyllm.layers.blocks import pre_norm_block_backward, pre_norm_block_forward
from tinyllm.layers.mlp import swiglu_backward, swiglu_forward
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


def swiglu_shapes(D, F, biased):
    return (
        linear("gate_proj", F, D, biased)
        | linear("up_proj", F, D, biased)
        | linear("down_proj", D, F, biased)
    )


def attention_shapes(D, H, K, d, biased, normed=False):
    norms = {"q_norm.weight": (d,), "k_norm.weight": (d,)} if normed else {}
    return (
        norms
        | linear("q_proj", H * d, D, biased)
        | linear("k_proj", K * d, D, biased)
        | linear("v_proj", K * d, D, biased)
        | linear("o_proj", D, H * d, biased)
    )


@given(sizes, sizes, sizes, st.booleans(), rngs)
def test_swiglu(xp, T, D, F, biased, rng):
    x = rng.standard_normal((2, T, D))
    check_layer(xp, swiglu_forward, swiglu_backward, x, swiglu_shapes(D, F, biased), rng)


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


@given(sizes, sizes, heads, st.integers(1, 2), st.booleans(), st.booleans(), rngs)
def test_self_attention(xp, T, D, heads, r, biased, normed, rng):
    (H, K), x = heads, rng.standard_normal((2, T, D))
    shapes = attention_shapes(D, H, K, 2 * r, biased, normed)
    around = surroundings(xp, T, r, rng, H, K, window=None)
    check_layer(xp, self_attention_forward, self_attention_backward, x, shapes, rng, **around)


@given(sizes, sizes, sizes, heads, st.booleans(), rngs)
def test_pre_norm_block(xp, T, D, F, heads, biased, rng):
    (H, K), x = heads, rng.standard_normal((2, T, D))
    shapes = {
        "input_layernorm.weight": (D,),
        "post_attention_layernorm.weight": (D,),
        **{f"self_attn.{k}": v for k, v in attention_shapes(D, H, K, 4, biased).items()},
        **{f"mlp.{k}": v for k, v in swiglu_shapes(D, F, biased).items()},
    }
    around = surroundings(xp, T, 2, rng, H, K, window=2)
    check_layer(xp, pre_norm_block_forward, pre_norm_block_backward, x, shapes, rng, **around)


@given(sizes, sizes, sizes, rngs)
def test_the_feed_forward_layer_sees_one_position_at_a_time(xp, T, D, F, rng):
    p = nest({k: xp.asarray(rng.standard_normal(s)) for k, s in swiglu_shapes(D, F, True).items()})
    x = rng.standard_normal((1, T, D))
    whole = xp.to_numpy(swiglu_forward(xp, xp.asarray(x), p)[0])
    for t in range(T):
        alone = xp.to_numpy(swiglu_forward(xp, xp.asarray(x[:, t : t + 1]), p)[0])
        np.testing.assert_allclose(alone, whole[:, t : t + 1], atol=1e-12)


def test_a_block_with_silent_sublayers_is_the_identity(xp):
    rng = np.random.default_rng(0)
    shapes = {f"self_attn.{k}": v for k, v in attention_shapes(4, 2, 1, 2, False).items()}
    shapes |= {f"mlp.{k}": v for k, v in swiglu_shapes(4, 3, False).items()}
    params = {k: rng.standard_normal(shape) for k, shape in shapes.items()}
    params["self_attn.o_proj.weight"] *= 0
    params["mlp.down_proj.weight"] *= 0
    params |= {"input_layernorm.weight": np.ones(4), "post_attention_layernorm.weight": np.ones(4)}
    p = nest({k: xp.asarray(v) for k, v in params.items()})
    x, around = rng.standard_normal((1, 3, 4)), surroundings(xp, 3, 1, rng, 2, 1, None)
    y, saved = pre_norm_block_forward(xp, xp.asarray(x), p, **around)
    assert np.array_equal(xp.to_numpy(y), x)
    dx, _ = pre_norm_block_backward(xp, xp.asarray(x), saved)
    assert np.array_equal(xp.to_numpy(dx), x)


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
