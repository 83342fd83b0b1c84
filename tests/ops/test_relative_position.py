"""tinyllm.ops.relative_position"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import check_pair, rngs, sizes
from tinyllm.errors import ConfigError
from tinyllm.ops.relative_position import (
    relative_buckets,
    relative_position_backward,
    relative_position_forward,
)

T5 = {"n_buckets": 32, "max_distance": 128}


def of_distances(distances, *, causal, **options):
    """The buckets of keys that stand so far before the query (behind it, where negative)."""
    return relative_buckets([0], -np.asarray(distances), causal=causal, **options)[0].tolist()


def test_the_buckets_of_t5():
    near = of_distances(range(16), causal=True, **T5)
    assert near == list(range(16))
    far = of_distances(
        [16, 18, 19, 20, 21, 31, 32, 63, 64, 112, 113, 128, 10**6], causal=True, **T5
    )
    assert far == [16, 16, 17, 17, 18, 21, 21, 26, 26, 30, 31, 31, 31]
    before = of_distances([0, 1, 7, 8, 11, 12, 16, 90, 91, 128, 10**6], causal=False, **T5)
    assert before == [0, 1, 7, 8, 8, 9, 10, 14, 15, 15, 15]
    behind = of_distances([-1, -7, -8, -16, -128, -(10**6)], causal=False, **T5)
    assert behind == [17, 23, 24, 26, 31, 31]


def test_a_causal_decoder_counts_later_keys_as_its_own_position():
    assert of_distances([0, -1, -2, -1000], causal=True, **T5) == [0, 0, 0, 0]


@st.composite
def kinds(draw):
    causal, exact = draw(st.booleans()), draw(st.integers(1, 20))
    n = 2 * exact + draw(st.integers(0, 1))
    return {
        "causal": causal,
        "n_buckets": n if causal else 2 * n,
        "max_distance": draw(st.integers(exact + 1, 300)),
    }


@given(kinds())
def test_buckets_are_used_in_order_from_the_first_to_the_last(kind):
    buckets = of_distances(range(400), **kind)
    n = kind["n_buckets"] if kind["causal"] else kind["n_buckets"] // 2
    assert buckets == sorted(buckets)
    assert buckets[: n // 2 + 1] == list(range(n // 2 + 1))
    assert set(buckets[kind["max_distance"] :]) == {n - 1}


@given(kinds(), sizes, sizes, st.integers(0, 500))
def test_only_the_distance_counts(kind, T, S, shift):
    queries, keys = np.arange(T), np.arange(S)
    here = relative_buckets(queries, keys, **kind)
    assert here.shape == (T, S)
    assert here.dtype == np.int64
    assert np.array_equal(here, relative_buckets(queries + shift, keys + shift, **kind))


@pytest.mark.parametrize(
    "kind",
    [
        {"n_buckets": 1, "max_distance": 128, "causal": True},
        {"n_buckets": 3, "max_distance": 128, "causal": False},
        {"n_buckets": 32, "max_distance": 16, "causal": True},
        {"n_buckets": 32, "max_distance": 8, "causal": False},
        {"n_buckets": -4, "max_distance": 8, "causal": True},
    ],
)
def test_buckets_that_cannot_be_are_refused(kind):
    with pytest.raises(ConfigError, match=f"{kind['n_buckets']} buckets for distances up to"):
        relative_buckets([0], [0], **kind)


@given(sizes, sizes, sizes, sizes, st.booleans(), rngs)
def test_gradients(xp, B, T, S, H, batched, rng):
    buckets, weight = rng.integers(0, 4, (B, T, S)), rng.standard_normal((4, H))
    pair = relative_position_forward, relative_position_backward
    check_pair(xp, *pair, buckets if batched else buckets[0], weight, rng=rng)


def test_the_bias_is_the_row_of_the_bucket_and_the_column_of_the_head(xp):
    rng = np.random.default_rng(0)
    buckets, weight = rng.integers(0, 5, (2, 3)), rng.standard_normal((5, 4))
    bias, saved = relative_position_forward(xp, xp.asarray(buckets), xp.asarray(weight))
    for h, t, s in np.ndindex(4, 2, 3):
        assert xp.to_numpy(bias)[h, t, s] == weight[buckets[t, s], h]
    dweight = relative_position_backward(xp, xp.ones_like(bias), saved)[1]
    counts = np.bincount(buckets.ravel(), minlength=5)
    assert np.array_equal(xp.to_numpy(dweight), np.tile(counts[:, None], 4))


@pytest.mark.parity
@pytest.mark.parametrize("causal", [True, False])
def test_buckets_are_those_of_transformers(causal):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distances = np.arange(-3000, 3001)
    for n_buckets in (4, 5, 8, 13, 32, 33, 64, 100, 256):
        for max_distance in (129, 128, 127, 64, 100, 256, 800, 2048):
            if max_distance <= n_buckets // (2 if causal else 4):
                continue
            ours = relative_buckets(
                [0], distances, n_buckets=n_buckets, max_distance=max_distance, causal=causal
            )[0]
            theirs = t5.T5Attention._relative_position_bucket(
                torch.tensor(distances), not causal, n_buckets, max_distance
            )
            different = distances[ours != theirs.numpy()]
            assert not different.size, (n_buckets, max_distance, different)


@pytest.mark.parity
@given(st.booleans(), sizes, st.integers(0, 40), rngs)
def test_the_bias_is_that_of_transformers(causal, T, seen, rng):
    torch, xp = pytest.importorskip("torch"), tinyllm_numpy
    transformers = pytest.importorskip("transformers")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    config = transformers.T5Config(d_model=4, d_kv=2, num_heads=3, is_decoder=causal)
    layer = t5.T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    table = layer.relative_attention_bias.weight
    keys = np.arange(seen + T)
    buckets = relative_buckets(keys[seen:], keys, causal=causal, **T5)
    bias, saved = relative_position_forward(xp, buckets, table.detach().numpy())
    theirs = layer.compute_bias(T, seen + T, past_seen_tokens=seen)[0]
    assert np.array_equal(bias, theirs.detach().numpy())
    dy = rng.standard_normal(bias.shape).astype(np.float32)
    theirs.backward(torch.tensor(dy))
    dweight = relative_position_backward(xp, dy, saved)[1]
    np.testing.assert_allclose(dweight, table.grad.numpy(), rtol=1e-4, atol=1e-5)
