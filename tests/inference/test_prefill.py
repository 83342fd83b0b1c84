"""tinyllm.inference.prefill: chunks that follow one another give what one pass gives."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tiny import configs, random_params, tiny_config, tree_of
from tinyllm.inference import prefill as module
from tinyllm.inference.kv_cache import KVCache, make_cache
from tinyllm.inference.prefill import prefill
from tinyllm.models.stack import hidden_states
from tinyllm_numpy import threads


@pytest.fixture(params=[1, 3], ids=["one worker", "three workers"], autouse=True)
def small_chunks(request, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    monkeypatch.setattr(threads, "_workers", lambda: request.param)
    threads._pool.cache_clear()
    yield
    threads._pool.cache_clear()


@given(configs, st.integers(1, 12), st.lists(st.integers(0, 3), min_size=1, max_size=3), rngs)
def test_chunks_give_what_one_pass_gives(config, T, padding, rng):
    tokens = rng.integers(0, config.vocab_size, (len(padding), T + 2))
    p, options = tree_of(tinyllm_numpy, random_params(config)), {"batch": len(padding)}
    one, cut = (
        make_cache(
            tinyllm_numpy, config, capacity=T + 2, dtype=np.float64, padding=np.array(padding),
            **options,
        )
        for _ in range(2)
    )  # fmt: skip
    for part in (tokens[:, :T], tokens[:, T:]):  # the second goes on after the first
        expected = hidden_states(tinyllm_numpy, part, p, config, kv=one)
        got = prefill(tinyllm_numpy, part, p, config, cut)
        real = np.arange(part.shape[1]) + cut.length - part.shape[1] >= np.array(padding)[:, None]
        np.testing.assert_allclose(got[real], expected[real], atol=1e-12)
    assert cut.length == one.length == T + 2


def test_chunks_overlap_in_time():
    """The second chunk is in the first layer before the first chunk is out of the last."""
    config = tiny_config(n_layers=30)
    p, order = tree_of(tinyllm_numpy, random_params(config)), []
    kv = KVCache(tinyllm_numpy, config, batch=1, capacity=6, dtype=np.float64)
    append = kv.append
    both = threading.Barrier(2)

    def noted(index, k, v, offset=0):
        order.append((offset, index))
        if threads._workers() > 1 and (offset, index) in ((0, 1), (3, 0)):
            both.wait(timeout=10)
        return append(index, k, v, offset)

    kv.append = noted
    prefill(tinyllm_numpy, np.zeros((1, 6), int), p, config, kv)
    assert sorted(order) == [(offset, i) for offset in (0, 3) for i in range(30)]
    assert all(order.index((0, i)) < order.index((3, i)) for i in range(30))


def test_a_failure_of_one_chunk_ends_all():
    config = tiny_config()
    p = tree_of(tinyllm_numpy, random_params(config))
    kv = KVCache(tinyllm_numpy, config, batch=1, capacity=5, dtype=np.float64)  # one too few
    with pytest.raises(Exception, match="room for 5 tokens, not for 6"):
        prefill(tinyllm_numpy, np.zeros((1, 6), int), p, config, kv)


@pytest.mark.parametrize("T", [1, 3, 4, 63, 64, 700])
def test_chunks_cover_the_tokens_and_none_is_long(T, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 256)
    starts = module._starts(T)
    assert [i for start, end in starts for i in range(start, end)] == list(range(T))
    assert max(end - start for start, end in starts) <= 256
    assert (len(starts) > 1) == (T >= 64)
