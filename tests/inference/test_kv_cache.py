"""tinyllm.inference.kv_cache and session: cached decoding equals full recomputation."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import rngs
from tiny import ROPES, configs, random_params, tiny_config, tree_of
from tinyllm.errors import UsageError
from tinyllm.inference.kv_cache import KVCache, RollingKVCache, make_cache
from tinyllm.inference.session import Session, UncachedSession
from tinyllm.models.decoder import decoder_forward, logits_forward
from tinyllm.models.stack import hidden_states


def full(xp, p, config, tokens):
    return xp.to_numpy(decoder_forward(xp, xp.asarray(tokens), p, config)[0])


def in_chunks(xp, p, config, tokens, borders, kv):
    logits = []
    for start, end in zip([0, *borders], [*borders, tokens.shape[1]]):
        chunk = xp.asarray(tokens[:, start:end])
        hidden = hidden_states(xp, chunk, p, config, kv=kv)
        logits.append(xp.to_numpy(logits_forward(xp, hidden, p, config)[0]))
    return np.concatenate(logits, axis=1)


@given(configs, st.integers(1, 12), st.lists(st.integers(1, 11), max_size=4), rngs)
def test_any_chunking_equals_one_forward(xp, config, T, cuts, rng):
    p, tokens = tree_of(xp, random_params(config)), rng.integers(0, config.vocab_size, (2, T))
    borders = sorted({cut for cut in cuts if cut < T})
    expected = full(xp, p, config, tokens)
    for kind in (KVCache, None):
        options = {"batch": 2, "capacity": T, "dtype": xp.float64}
        kv = (kind or make_cache)(xp, config, **options)
        logits = in_chunks(xp, p, config, tokens, borders, kv)
        scale = np.abs(expected).max()
        assert np.abs(logits - expected).max() <= 1e-12 * scale
        assert kv.length == T


@given(st.integers(1, 5), st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_a_rolling_cache_gives_the_keys_of_the_window_with_their_positions(xp, window, chunks):
    """Columns are their own keys here, so what append returns can be read off."""
    config = tiny_config(window=window, n_layers=1, n_kv_heads=1, head_dim=2)
    kv = RollingKVCache(xp, config, batch=1, capacity=window, dtype=xp.float64)
    for T in chunks:
        new = kv.length + np.arange(T)
        queries, keys = kv.positions(T)
        columns = np.broadcast_to(new[None, None, :, None], (1, 1, T, 2)).astype(float)
        k, v = kv.layer(0).append(xp.asarray(columns), xp.asarray(-columns))
        kv.advance(T)
        assert queries.tolist() == new.tolist()
        assert xp.to_numpy(k)[0, 0, :, 0].tolist() == keys.tolist()
        assert xp.to_numpy(v)[0, 0, :, 1].tolist() == (-keys).tolist()
        assert set(range(max(0, new[0] - window + 1), new[-1] + 1)) <= set(keys.tolist()) or T == 1
        assert set(range(max(0, new[-1] - window + 1), new[-1] + 1)) <= set(keys.tolist())
        assert len(set(keys.tolist())) == len(keys)


@settings(max_examples=10)
@given(configs, st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(1, 5), rngs)
def test_a_left_padded_batch_equals_its_rows_one_by_one(xp, config, lengths, steps, rng):
    p = tree_of(xp, random_params(config))
    prompts = [rng.integers(0, config.vocab_size, n).tolist() for n in lengths]
    later = rng.integers(0, config.vocab_size, (steps, len(prompts))).tolist()
    batch = Session(xp, p, config, prompts, max_tokens=steps)
    alone = [Session(xp, p, config, [prompt], max_tokens=steps) for prompt in prompts]
    uncached = UncachedSession(xp, p, config, prompts)
    scores = [batch.prefill(), np.concatenate([s.prefill() for s in alone]), uncached.prefill()]
    for tokens in [None, *later]:
        if tokens is not None:
            scores = [
                batch.step(tokens),
                np.concatenate([s.step([t]) for s, t in zip(alone, tokens)]),
                uncached.step(tokens),
            ]
        scale = np.abs(scores[2]).max()
        assert np.abs(scores[0] - scores[2]).max() <= 1e-12 * scale
        assert np.abs(scores[1] - scores[2]).max() <= 1e-12 * scale


def test_a_long_prompt_is_read_in_chunks(xp, monkeypatch):
    monkeypatch.setattr("tinyllm.inference.prefill.CHUNK", 3)
    config = tiny_config(window=4)
    p, prompt = tree_of(xp, random_params(config)), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    scores = Session(xp, p, config, [prompt], max_tokens=1).prefill()
    np.testing.assert_allclose(scores, full(xp, p, config, np.array([prompt]))[:, -1], atol=1e-12)


def test_dynamic_scaling_refuses_a_cache_beyond_its_original_context(xp):
    rope = dataclasses.replace(ROPES["dynamic"], original_context=4)
    config = tiny_config(positions=rope)
    p = tree_of(xp, random_params(config))
    session = Session(xp, p, config, [[1, 2, 3]], max_tokens=3)
    session.prefill()
    session.step([4])
    with pytest.raises(UsageError, match="beyond 4 tokens, so cached keys would be wrong at 5"):
        session.step([5])
    uncached = UncachedSession(xp, p, config, [[1, 2, 3, 4]])
    uncached.prefill()
    assert uncached.step([5]).shape == (1, 11)


def test_a_full_cache_says_so(xp):
    config = tiny_config()
    session = Session(xp, tree_of(xp, random_params(config)), config, [[1, 2]], max_tokens=1)
    session.prefill()
    session.step([3])
    with pytest.raises(UsageError, match="room for 3 tokens, not for 4"):
        session.step([4])


def test_a_window_shorter_than_the_text_bounds_the_memory(xp):
    options = {"batch": 1, "capacity": 100, "dtype": xp.float32}
    assert make_cache(xp, tiny_config(window=5), **options).keys[0].shape[2] == 5
    assert make_cache(xp, tiny_config(window=200), **options).keys[0].shape[2] == 100
    assert make_cache(xp, tiny_config(), **options).keys[0].shape[2] == 100
