"""tinyllm.layers.cross_attention"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from shapes import checked
from strategies import check_pair, rngs, sizes
from tinyllm.layers.cross_attention import (
    cross_attention_backward,
    cross_attention_forward,
    source_keys_backward,
    source_keys_forward,
)
from tinyllm.ops.attention import attention_mask
from tinyllm.params import flatten, nest

heads = st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3)])
SHOWN = np.array([[True, True, True, False], [False, True, True, True]])[:, None, None, :]


def shapes_of(D, C, H, K, d, biased):
    sizes = {"q": (H * d, D), "k": (K * d, C), "v": (K * d, C), "o": (D, H * d)}
    shapes = {f"{name}_proj.weight": shape for name, shape in sizes.items()}
    biases = {f"{name}_proj.bias": shape[:1] for name, shape in sizes.items()}
    return shapes | (biases if biased else {})


def drawn(xp, rng, shapes):
    return nest({name: xp.asarray(rng.standard_normal(shape)) for name, shape in shapes.items()})


def both(xp, x, source, p, *, H, K, bias=None, **options):
    """The whole layer: what the source gives, and what the tokens read of it."""
    keys, _ = checked(source_keys_forward)(xp, source, p, n_kv_heads=K)
    return checked(cross_attention_forward)(xp, x, *keys, bias, p, n_heads=H, **options)[0]


def example(xp, H=2, K=1, d=3, D=4, C=5, T=3, S=4, biased=True):
    rng = np.random.default_rng(0)
    p = drawn(xp, rng, shapes_of(D, C, H, K, d, biased))
    return rng.standard_normal((2, T, D)), rng.standard_normal((2, S, C)), p


@given(sizes, sizes, sizes, sizes, heads, sizes, st.booleans(), st.booleans(), rngs)
def test_gradients(xp, T, S, D, C, heads, d, biased, added, rng):
    """Of the tokens, the source, a bias and all parameters: both steps at once."""
    H, K = heads
    shapes = shapes_of(D, C, H, K, d, biased)
    names = sorted(shapes)
    seen = rng.random((2, 1, 1, S)) < 0.7
    options = {"mask": xp.asarray(seen), "scale": None if biased else 0.7}

    def forward(xp, x, source, bias, *weights):
        """x (B, T, D), source (B, S, C), bias (H, T, S) -> y (B, T, D)"""
        p = nest(dict(zip(names, weights)))
        keys, s_keys = source_keys_forward(xp, source, p, n_kv_heads=K)
        y, s = cross_attention_forward(xp, x, *keys, bias, p, n_heads=H, **options)
        return y, (s_keys, s)

    def backward(xp, dy, saved):
        s_keys, s = saved
        (dx, dk, dv, dbias), grads = cross_attention_backward(xp, dy, s)
        dsource, key_grads = source_keys_backward(xp, (dk, dv), s_keys)
        grads = flatten(grads | key_grads)
        assert set(grads) == set(names)
        return dx, dsource, dbias, *(grads[name] for name in names)

    x, source = rng.standard_normal((2, T, D)), rng.standard_normal((2, S, C))
    bias = rng.standard_normal((H, T, S)) if added else None
    weights = [rng.standard_normal(shapes[name]) for name in names]
    check_pair(xp, forward, backward, x, source, bias, *weights, rng=rng, tolerance=1e-6)


@pytest.mark.parametrize("mask", [SHOWN, np.where(SHOWN, 0.0, -np.inf)], ids=["truths", "floats"])
def test_padding_of_the_source_is_invisible(xp, mask):
    x, source, p = example(xp)
    y = xp.to_numpy(both(xp, *map(xp.asarray, (x, source)), p, H=2, K=1, mask=xp.asarray(mask)))
    shown = np.broadcast_to(SHOWN[:, 0, 0, :], source.shape[:2])
    other = xp.asarray(np.where(shown[..., None], source, 99.0))
    assert np.array_equal(
        xp.to_numpy(both(xp, xp.asarray(x), other, p, H=2, K=1, mask=xp.asarray(mask))), y
    )
    for b in range(2):
        short = xp.asarray(source[b : b + 1, shown[b]])
        alone = both(xp, xp.asarray(x[b : b + 1]), short, p, H=2, K=1)
        np.testing.assert_allclose(xp.to_numpy(alone)[0], y[b], atol=1e-13)


def test_a_mask_of_positions_serves_as_one_of_padding(xp):
    positions = np.array([[0, 1, 2, -1], [-1, 0, 1, 2]])[:, None, :]
    mask = attention_mask(xp, xp.asarray([0]), xp.asarray(positions), causal=False)
    assert np.array_equal(xp.to_numpy(mask), SHOWN)


def test_padding_has_no_gradient(xp):
    x, source, p = example(xp)
    keys, s_keys = source_keys_forward(xp, xp.asarray(source), p, n_kv_heads=1)
    y, s = cross_attention_forward(
        xp, xp.asarray(x), *keys, None, p, n_heads=2, mask=xp.asarray(SHOWN)
    )
    (_, dk, dv, dbias), _ = cross_attention_backward(xp, xp.ones_like(y), s)
    dsource = xp.to_numpy(source_keys_backward(xp, (dk, dv), s_keys)[0])
    assert dbias is None
    shown = SHOWN[:, 0, 0, :]
    assert not dsource[~shown].any()
    assert dsource[shown].any(axis=-1).all()


def test_a_source_of_nothing_but_padding_gives_the_bias_of_the_last_projection(xp):
    x, source, p = example(xp)
    mask = xp.asarray(np.zeros((2, 1, 1, 4), dtype=bool))
    y = both(xp, *map(xp.asarray, (x, source)), p, H=2, K=1, mask=mask)
    expected = np.broadcast_to(xp.to_numpy(p["o_proj"]["bias"]), y.shape)
    np.testing.assert_allclose(xp.to_numpy(y), expected, atol=1e-15)


def test_decoding_with_the_keys_made_once_is_the_whole_pass(xp):
    x, source, p = example(xp, T=5)
    mask, bias = xp.asarray(SHOWN), np.random.default_rng(1).standard_normal((2, 5, 4))
    options = {"H": 2, "K": 1, "mask": mask}
    whole = both(xp, *map(xp.asarray, (x, source)), p, bias=xp.asarray(bias), **options)
    keys, _ = source_keys_forward(xp, xp.asarray(source), p, n_kv_heads=1)
    for start, end in ((0, 2), (2, 3), (3, 5)):
        part, rows = xp.asarray(x[:, start:end]), xp.asarray(bias[:, start:end])
        y, _ = cross_attention_forward(xp, part, *keys, rows, p, n_heads=2, mask=mask)
        np.testing.assert_allclose(
            xp.to_numpy(y), xp.to_numpy(whole)[:, start:end], rtol=0, atol=1e-13
        )


def test_without_a_scale_scores_are_divided_by_the_root_of_the_head_s_width(xp):
    x, source, p = example(xp)
    y = both(xp, *map(xp.asarray, (x, source)), p, H=2, K=1)
    larger = p | {"q_proj": {name: 2.0 * w for name, w in p["q_proj"].items()}}
    same = both(xp, *map(xp.asarray, (x, source)), larger, H=2, K=1, scale=0.5 * 3**-0.5)
    np.testing.assert_allclose(xp.to_numpy(same), xp.to_numpy(y), atol=1e-13)


def test_the_order_of_the_source_does_not_matter(xp):
    x, source, p = example(xp)
    order = [2, 0, 3, 1]
    y = both(xp, *map(xp.asarray, (x, source)), p, H=2, K=1)
    shuffled = both(xp, *map(xp.asarray, (x, source[:, order])), p, H=2, K=1)
    np.testing.assert_allclose(xp.to_numpy(shuffled), xp.to_numpy(y), atol=1e-13)


def test_float32_stays_float32(xp):
    x, source, p = example(xp)
    p = nest({name: xp.astype(w, xp.float32) for name, w in flatten(p).items()})
    x, source = (xp.asarray(a.astype(np.float32)) for a in (x, source))
    keys, s_keys = source_keys_forward(xp, source, p, n_kv_heads=1)
    y, s = cross_attention_forward(xp, x, *keys, None, p, n_heads=2, mask=xp.asarray(SHOWN))
    (dx, dk, dv, _), grads = cross_attention_backward(xp, y, s)
    dsource, key_grads = source_keys_backward(xp, (dk, dv), s_keys)
    arrays = [y, dx, dk, dv, dsource, *flatten(grads | key_grads).values()]
    assert all(array.dtype == xp.float32 for array in arrays)


@pytest.mark.parity
@given(sizes, sizes, sizes, st.sampled_from([(1, 2), (2, 3), (4, 1)]), st.booleans(), rngs)
def test_the_layer_is_that_of_torch(T, S, C, heads, biased, rng):
    torch = pytest.importorskip("torch")
    (H, d), xp = heads, tinyllm_numpy
    theirs = torch.nn.MultiheadAttention(
        H * d, H, bias=biased, kdim=C, vdim=C, batch_first=True, dtype=torch.float64
    )
    flat = {
        name: rng.standard_normal(s) for name, s in shapes_of(H * d, C, H, H, d, biased).items()
    }
    tensors = {name: torch.tensor(w) for name, w in flat.items()}
    state = {f"{c}_proj_weight": tensors[f"{c}_proj.weight"] for c in "qkv"}
    state["out_proj.weight"] = tensors["o_proj.weight"]
    if biased:
        state["in_proj_bias"] = torch.cat([tensors[f"{c}_proj.bias"] for c in "qkv"])
        state["out_proj.bias"] = tensors["o_proj.bias"]
    if H * d == C:  # packed where the widths agree
        state["in_proj_weight"] = torch.cat([state.pop(f"{c}_proj_weight") for c in "qkv"])
    theirs.load_state_dict(state)
    x, source = rng.standard_normal((2, T, H * d)), rng.standard_normal((2, S, C))
    mask = rng.random((2, S)) < 0.6
    mask[:, 0] = True
    p = nest(flat)
    keys, s_keys = source_keys_forward(xp, source, p, n_kv_heads=H)
    y, s = cross_attention_forward(xp, x, *keys, None, p, n_heads=H, mask=mask[:, None, None, :])
    dy = rng.standard_normal(y.shape)
    (dx, dk, dv, _), grads = cross_attention_backward(xp, dy, s)
    dsource, key_grads = source_keys_backward(xp, (dk, dv), s_keys)

    tx, tsource = (torch.tensor(a, requires_grad=True) for a in (x, source))
    expected, _ = theirs(tx, tsource, tsource, key_padding_mask=torch.tensor(~mask))
    expected.backward(torch.tensor(dy))
    grads = flatten(grads | key_grads)
    pairs = [(y, expected), (dx, tx.grad), (dsource, tsource.grad)]
    pairs.append((grads["o_proj.weight"], theirs.out_proj.weight.grad))
    packed = [grads[f"{c}_proj.weight"] for c in "qkv"]
    if H * d == C:
        pairs.append((np.concatenate(packed), theirs.in_proj_weight.grad))
    else:
        pairs += zip(packed, (getattr(theirs, f"{c}_proj_weight").grad for c in "qkv"))
    if biased:
        joined = np.concatenate([grads[f"{c}_proj.bias"] for c in "qkv"])
        pairs.append((joined, theirs.in_proj_bias.grad))
    for ours, wanted in pairs:
        np.testing.assert_allclose(ours, wanted.detach().numpy(), rtol=0, atol=1e-11)
