"""Attention of one token by kernels, on an emulator of the GPU: it is the formula."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.backend import device
from emulator.module import COMPILER, ORDERS
from strategies import rngs
from tinyllm_cuda.decode_kernels import attention, attention_blocks, attention_tile, format_of
from tinyllm_cuda.launch import launch

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
DEVICES = {order: device(order) for order in ORDERS}
BF16 = ml_dtypes.bfloat16
SHAPES = [  # of a head, how many share a key head, and the dtype of the cache
    (32, 1, np.float32), (64, 2, BF16), (128, 4, BF16), (96, 8, np.float16), (80, 3, np.float32),
    (8, 2, np.float32),
]  # fmt: skip
CONTEXTS = [1, 2, 31, 32, 33, 63, 64, 65, 127, 137]


def attend(where, q, keys, values, position, *, splits, window=2**30, room=None):
    """Run the kernel; returns o (H, d), and checks that its counters are back at zero."""
    (H, d), (K, slots) = q.shape, keys.shape[1:3]
    o, done = np.full((H, d), np.nan, np.float32), np.zeros(K, np.int32)
    parts = np.full(K * splits * (H // K) * (d + 2), np.nan, np.float32)
    state = np.array([1, position, 0], np.int32)
    kernel = attention(format_of(keys), d, H // K)
    arguments = (q, keys, values, state, parts, done, o, room or slots, window, d**-0.5)
    launch(where, kernel, (splits, K), arguments)
    assert not done.any()
    return o


def formula(q, keys, values, seen):
    """Softmax over the columns seen, in float64."""
    group = len(q) // keys.shape[1]
    k, v = (np.repeat(x[0, :, seen].astype(np.float64), group, axis=1) for x in (keys, values))
    scores = np.einsum("hd,shd->hs", q.astype(np.float64), k) * q.shape[1] ** -0.5
    probs = np.exp(scores - scores.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    return np.einsum("hs,shd->hd", probs, v)


def example(d, group, dtype, slots, K=2, seed=0):
    rng = np.random.default_rng(seed)
    q = (2 * rng.standard_normal((K * group, d))).astype(np.float32)
    return q, *(rng.standard_normal((1, K, slots, d)).astype(dtype) for _ in range(2))


@settings(max_examples=25)
@given(
    st.sampled_from(SHAPES), st.sampled_from(CONTEXTS), st.sampled_from([1, 2, 5, 64]),
    st.sampled_from([2**30, 1, 20, 64]), st.sampled_from(ORDERS), rngs,
)  # fmt: skip
def test_it_is_the_formula(shape, context, splits, window, order, rng):
    q, keys, values = example(*shape, slots=context + 3, seed=rng)
    keys[0, :, context:], values[0, :, context:] = np.nan, np.nan  # columns that nobody has written
    o = attend(DEVICES[order], q, keys, values, context - 1, splits=splits, window=window)
    seen = np.arange(max(0, context - window), context)
    np.testing.assert_allclose(o, formula(q, keys, values, seen), atol=2e-6)


@pytest.mark.parametrize("position", [0, 4, 5, 6, 7, 23])
def test_a_cache_that_rolls_keeps_column_c_in_slot_c_mod_room(position):
    q, keys, values = example(32, 1, np.float32, slots=6)
    o = attend(DEVICES["shuffled"], q, keys, values, position, splits=2, window=6)
    seen = np.arange(max(0, position - 5), position + 1) % 6
    np.testing.assert_allclose(o, formula(q, keys, values, seen), atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_any_order_of_threads_gives_the_same_bits(shape):
    arrays = example(*shape, slots=137)
    for splits in (1, 4):
        results = [attend(DEVICES[order], *arrays, 136, splits=splits) for order in ORDERS * 2]
        assert all(np.array_equal(results[0], o) for o in results)


def test_large_scores_do_not_overflow():
    q, keys, values = example(32, 1, np.float32, slots=65)
    o = attend(DEVICES["forward"], 1e4 * q, keys, values, 64, splits=3)
    np.testing.assert_allclose(o, formula(1e4 * q, keys, values, np.arange(65)), atol=1e-3)


@pytest.mark.parametrize("group", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("d", [8, 16, 32, 48, 64, 80, 96, 112, 128, 256])
def test_usual_heads_have_a_kernel_in_every_format(d, group):
    for format, item in (("float32", 4), ("bfloat16", 2), ("float16", 2)):
        kernel = attention(format, d, group)
        sizes = dict(kernel.macros)
        own = d // sizes["LANES"]
        assert own * sizes["LANES"] == d
        assert own % sizes["VECTOR"] == 0
        assert sizes["VECTOR"] * item <= 16
        assert kernel.shared_memory <= 99 * 1024
        assert attention_tile(kernel) == 256 // sizes["LANES"]
        assert attention_blocks(kernel, device()) >= 1


def test_heads_that_no_thread_has_room_for_have_none():
    assert attention("float32", 128, 32) is None
    assert attention("float32", 33, 1) is None
    assert attention("float32", 1024, 1) is None
