"""The sampler's kernel, on an emulator of the GPU, against the sampling of the host."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from emulator.backend import device
from emulator.module import COMPILER, ORDERS
from strategies import rngs
from tinyllm.inference.sampling import Sampling, candidates, choose_token
from tinyllm.ops.quantization import Quantized, dequantize, quantize
from tinyllm_cuda.decode_kernels import FORMATS, sampler
from tinyllm_cuda.launch import launch

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
DEVICES = {order: device(order) for order in ORDERS}
C = 5


def draw(order, logits, u, sampling, n=None):
    """Return the token drawn; checks the embedding of the next token, and the state."""
    V = len(logits)
    table = np.arange(V * C, dtype=np.float32).reshape(V, C)
    tokens, x = np.full(4, -7, np.int32), np.full(C, np.nan, np.float32)
    state, uniforms = np.array([0, 41, 2], np.int32), np.array([np.nan, np.nan, u, np.nan])
    numbers = [sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p]
    arrays = (logits, uniforms, np.array(numbers, np.float64), np.full(V, -1, np.int32))
    scales = np.zeros(1, np.float32)
    arguments = (*arrays, table, scales, tokens, state, x, n or V, C)
    launch(DEVICES[order], sampler("sampler_draw", "float32"), (1,), arguments)
    token = int(tokens[2])
    assert tokens.tolist() == [-7, -7, token, -7]
    assert state.tolist() == [token, 42, 3]
    assert np.array_equal(x, table[max(token, 0)])
    return token


def host(logits, u, sampling):
    return choose_token(logits, [], sampling, SimpleNamespace(random=lambda: u))


def far_from_borders(logits, u, sampling):
    """Whether float32 exponentials must decide as float64 ones do: for the draw, and the cuts."""
    scores = logits.astype(np.float64)
    _, probs = candidates(scores, sampling)
    wide = Sampling(temperature=sampling.temperature, top_k=sampling.top_k, top_p=1.0)
    before = np.sort(candidates(scores, wide)[1])[::-1]
    distances = [np.abs(np.cumsum(probs) - u)]
    if sampling.top_p < 1:
        distances.append(np.abs(np.cumsum(before) - sampling.top_p))
    if sampling.min_p > 0:
        distances.append(np.abs(before / before[0] - sampling.min_p))
    return min(map(np.min, distances)) > 1e-5


options = st.builds(
    lambda t, k, p, m: Sampling(temperature=t, top_k=k, top_p=p, min_p=m),
    st.sampled_from([0.0, 0.37, 1.0, 5.0]), st.sampled_from([0, 0, 0, 1, 2, 17, 600, 10**6]),
    st.sampled_from([1.0, 0.9137, 0.4731, 0.0117]), st.sampled_from([0.0, 0.0331, 0.731]),
)  # fmt: skip


@settings(max_examples=80)
@given(
    st.sampled_from([1, 2, 31, 37, 511, 513, 2000, 3000]), options,
    st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 0.5]), st.sampled_from(ORDERS), rngs,
)  # fmt: skip
def test_it_draws_what_the_host_draws(n, sampling, u, step, order, rng):
    logits = (3 * rng.standard_normal(n)).astype(np.float32)
    if step:  # many scores are equal: those of the lowest ids come first
        logits = np.round(logits / np.float32(step)) * np.float32(step)
    if sampling.temperature == 0 or far_from_borders(logits, u, sampling):
        assert draw(order, logits, u, sampling) == host(logits, u, sampling)


@pytest.mark.parametrize("u", [0.1, 0.5, 0.9])
def test_the_nucleus_is_a_part_of_all_that_there_is(u):
    """Of nearly flat scores, those that top-p looks at weigh far less than all."""
    logits = (np.arange(3000) % 100 / 30).astype(np.float32)
    sampling = Sampling(temperature=1.0, top_p=0.4731)
    assert draw("forward", logits, u, sampling) == host(logits, u, sampling)


def test_each_token_is_drawn_as_often_as_it_is_likely():
    logits = np.log(np.array([1, 2, 4, 1, 8], np.float32))
    sampling = Sampling(temperature=1.0, top_p=1.0)
    drawn = [draw("forward", logits, u, sampling) for u in (np.arange(64) + 0.5) / 64]
    assert np.bincount(drawn).tolist() == [4, 8, 16, 4, 32]


def test_ids_beyond_the_vocabulary_are_not_drawn():
    logits = np.array([0, 1, 0, 9, 9], np.float32)
    for sampling in (Sampling(temperature=0), Sampling(temperature=1.0, top_p=1.0)):
        assert draw("forward", logits, 0.999, sampling, n=3) in (1, 2)
    assert draw("forward", logits, 0.5, Sampling(temperature=0), n=3) == 1


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
def test_scores_that_are_not_finite_give_no_token(bad, temperature):
    logits = np.array([0, bad, 1], np.float32)
    assert draw("forward", logits, 0.5, Sampling(temperature=temperature)) == -1


@pytest.mark.parametrize("u", [0.0, 0.5, np.nextafter(1, 0)])
def test_the_ends_of_the_unit_interval_draw_what_may_be_drawn(u):
    logits = np.zeros(1000, np.float32)
    for only in (0, 999):
        logits[only] = 4
        for min_p in (0.5, 1.0):
            sampling = Sampling(temperature=1.0, top_p=1.0, min_p=min_p)
            assert draw("forward", logits, u, sampling) == only
        logits[only] = 0


def test_minus_zero_equals_zero_and_the_lowest_id_wins():
    logits = np.array([-1, -0.0, 0.0, -0.0], np.float32)
    assert draw("forward", logits, 0.5, Sampling(temperature=0)) == 1
    assert draw("forward", logits, 0.99, Sampling(temperature=1.0, top_k=2, top_p=1.0)) == 2


@pytest.mark.parametrize("format", FORMATS)
def test_a_token_is_embedded_from_a_table_in_any_format(format):
    rng, state = np.random.default_rng(0), np.array([2, 0, 0], np.int32)
    table = rng.standard_normal((4, 64))
    if format in ("int8", "int4"):
        kept = quantize(table, bits=int(format[3:]))
        row = dequantize(tinyllm_numpy, kept)[2]
    else:
        kept = table.astype(ml_dtypes.bfloat16 if format == "bfloat16" else format)
        row = kept[2].astype(np.float32)
    values, scales = (
        (kept.values, kept.scales)
        if isinstance(kept, Quantized)
        else (kept, np.zeros(1, np.float32))
    )
    x = np.full(64, np.nan, np.float32)
    arguments = (values, scales, state, x, 64)
    launch(DEVICES["forward"], sampler("sampler_embed", format), (1,), arguments)
    assert np.array_equal(x, row)


def test_any_order_of_threads_draws_the_same():
    logits = np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    sampling = Sampling(temperature=1.0, top_k=100, top_p=0.9, min_p=0.01)
    for u in (0.0, 0.25, 0.9999):
        assert len({draw(order, logits, u, sampling) for order in ORDERS}) == 1
