"""tinyllm.layers.latent_attention: its gradients, and absorbed = expanded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import check_pair, rngs
from tinyllm.layers.latent_attention import latent_attention_backward, latent_attention_forward
from tinyllm.ops.attention import attention_mask
from tinyllm.ops.rope import rope_tables
from tinyllm.ops.rope_scaling import default_frequencies
from tinyllm.params import flatten, nest

D, R = 6, 4  # model, rotated features
SIZES = {"H": 3, "nope": 2, "v": 5, "d_c": 7}


def shapes(q_rank, *, H, nope, v, d_c):
    queries = {"q_proj.weight": (H * (nope + R), D)}
    if q_rank is not None:
        queries = {
            "q_a_proj.weight": (q_rank, D),
            "q_a_layernorm.weight": (q_rank,),
            "q_b_proj.weight": (H * (nope + R), q_rank),
        }
    return queries | {
        "kv_a_proj_with_mqa.weight": (d_c + R, D),
        "kv_a_layernorm.weight": (d_c,),
        "kv_b_proj.weight": (H * (nope + v), d_c),
        "o_proj.weight": (D, H * v),
    }


def draw_params(rng, q_rank, **sizes):
    return {n: rng.standard_normal(s) for n, s in shapes(q_rank, **(SIZES | sizes)).items()}


def around(xp, queries, keys, **sizes):
    """Return the options for tokens at positions `queries` that meet those at `keys`."""
    queries, keys = xp.asarray(queries), xp.asarray(keys)
    frequencies = xp.asarray(default_frequencies(100.0, R))
    sizes = SIZES | sizes
    return {
        "n_heads": sizes["H"],
        "nope_dim": sizes["nope"],
        "rotation": rope_tables(xp, queries, frequencies, dtype=xp.float64),
        "mask": attention_mask(xp, queries, keys),
        "scale": 0.4,
        "norm_eps": 0.1,
    }


def tree(xp, params):
    return nest({name: xp.asarray(value) for name, value in params.items()})


class Kept:
    """A cache that keeps arrays as they come."""

    def __init__(self, xp):
        self.xp, self.keys = xp, None

    def append(self, k, v):
        assert v.shape == (*k.shape[:-1], 0)
        self.keys = k if self.keys is None else self.xp.concat([self.keys, k], axis=2)
        return self.keys, v


@pytest.mark.parametrize("q_rank", [None, 3])
@settings(max_examples=10)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), rngs)
def test_gradients(xp, q_rank, T, H, nope, rng):
    params = draw_params(rng, q_rank, H=H, nope=nope)
    options, names = around(xp, np.arange(T), np.arange(T), H=H, nope=nope), sorted(params)

    def forward(xp, x, *weights):
        return latent_attention_forward(xp, x, nest(dict(zip(names, weights))), **options)

    def backward(xp, dy, saved):
        dx, grads = latent_attention_backward(xp, dy, saved)
        grads = flatten(grads)
        assert set(grads) == set(names)
        return dx, *(grads[name] for name in names)

    forward.__doc__ = latent_attention_forward.__doc__
    weights = [params[name] for name in names]
    check_pair(xp, forward, backward, rng.standard_normal((2, T, D)), *weights, rng=rng)


@pytest.mark.parametrize("q_rank", [None, 3])
@settings(max_examples=10)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 3), rngs)
def test_absorbed_is_expanded_for_any_chunks(xp, q_rank, chunks, H, rng):
    T, params = sum(chunks), draw_params(rng, q_rank, H=H)
    x, p = rng.standard_normal((2, T, D)), tree(xp, params)
    options = around(xp, np.arange(T), np.arange(T), H=H)
    whole = xp.to_numpy(latent_attention_forward(xp, xp.asarray(x), p, **options)[0])
    kept, start, parts = Kept(xp), 0, []
    for n in chunks:
        options = around(xp, np.arange(start, start + n), np.arange(start + n), H=H)
        piece = xp.asarray(x[:, start : start + n])
        parts.append(latent_attention_forward(xp, piece, p, **options, kv=kept)[0])
        start += n
    assert kept.keys.shape == (2, 1, T, SIZES["d_c"] + R)  # all that is kept of a text
    scale = max(1.0, np.abs(whole).max())
    np.testing.assert_allclose(xp.to_numpy(xp.concat(parts, axis=1)), whole, atol=1e-12 * scale)


def test_only_distances_count(xp):
    """Everything moved along by the same number of positions reads the same."""
    rng = np.random.default_rng(0)
    p, x = tree(xp, draw_params(rng, 3)), xp.asarray(rng.standard_normal((1, 4, D)))
    here, there = (
        xp.to_numpy(latent_attention_forward(xp, x, p, **around(xp, at, at))[0])
        for at in (np.arange(4), np.arange(4) + 9)
    )
    np.testing.assert_allclose(there, here, atol=1e-12)
    elsewhere = np.arange(4) * 2
    apart = latent_attention_forward(xp, x, p, **around(xp, elsewhere, elsewhere))[0]
    assert np.abs(xp.to_numpy(apart) - here).max() > 1e-3


def test_keys_that_are_rotated_after_they_are_made_cannot_be_absorbed():
    """Why r stands beside: R_m W_UK c, of a position m, is not W_UK times anything without m."""
    rng = np.random.default_rng(0)
    q, c, up_k = rng.standard_normal(4), rng.standard_normal(7), rng.standard_normal((4, 7))

    def turn(x, position):
        a = position * default_frequencies(100.0, 4)
        pairs = (x[::2] + 1j * x[1::2]) * np.exp(1j * a)
        return np.stack([pairs.real, pairs.imag], -1).reshape(-1)

    absorbed = (up_k.T @ turn(q, 5)) @ c
    at = [turn(q, 5) @ turn(up_k @ c, position) for position in (0, 3)]
    np.testing.assert_allclose(at[0], absorbed, rtol=1e-12)
    assert abs(at[1] - absorbed) > 0.1
