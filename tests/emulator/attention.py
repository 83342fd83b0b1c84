"""Attention's kernels on the emulator beside the formula: problems, and when a result is right."""

from dataclasses import replace
from functools import partial

import numpy as np
from hypothesis import strategies as st

import tinyllm_numpy
from emulator.module import ORDERS, RawModule, tensor_map
from strategies import rngs
from tinyllm.ops.alibi import alibi_bias
from tinyllm.ops.attention import attention_backward, attention_forward
from tinyllm.ops.flash import flash_attention_backward, flash_attention_forward
from tinyllm_cuda.attention import FAR, Band, flash_backward, flash_forward
from tinyllm_cuda.launch import Device


class Poisoned:
    """NumPy, but of memory that nobody has written: what a kernel leaves out is NaN."""

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        array = np.empty(shape, dtype)
        array.view(np.uint8)[...] = 255  # of which each type of floats makes NaN
        return array

    def empty_like(self, x):
        return self.empty(x.shape, x.dtype)


def device(architecture=80, order="forward", shared_memory=166_912, *, xp=None, **options):
    return Device(
        raw_module=partial(RawModule, order=order, seed=1), xp=xp or Poisoned(),
        architecture=architecture, shared_memory=shared_memory, **options,
    )  # fmt: skip


DEVICES = {order: device(order=order) for order in ORDERS}
HOPPERS = {order: device(90, order, 227 * 1024, tensor_map=tensor_map) for order in ORDERS}


def run(where, q, k, v, do, band):
    """Return o, lse, dq, dk, dv by kernels, as arrays of NumPy."""
    q, k, v, do = (where.xp.asarray(x) for x in (q, k, v, do))
    if band.slopes is not None:
        band = replace(band, slopes=where.xp.asarray(band.slopes))
    o, lse = flash_forward(where, q, k, v, band)
    results = o, lse, *flash_backward(where, do, q, k, v, o, lse, band)
    return tuple(map(getattr(where.xp, "asnumpy", np.asarray), results))


def mask_and_bias(q, k, band):
    """Return a band as a mask that is added to scores: -inf, or ALiBi's bias; (H, T, S)."""
    (H, T), S = q.shape[1:3], k.shape[2]
    distance = np.arange(T)[:, None] + band.offset - np.arange(S)
    bias = np.zeros((H, T, S))
    if band.slopes is not None:
        bias = alibi_bias(tinyllm_numpy, distance, band.slopes.astype(np.float64))
    return np.where((band.least <= distance) & (distance < band.most), bias, -np.inf)


def formula(q, k, v, do, band):
    """Return o, lse, dq, dk, dv in float64, of whole matrices; tiles give them too."""
    xp, H, K = tinyllm_numpy, q.shape[1], k.shape[1]
    q, k, v, do = (x.astype(np.float64) for x in (q, k, v, do))
    mask = mask_and_bias(q, k, band)
    options = {"mask": mask, "scale": band.scale, "softcap": band.softcap or None}
    o, saved = attention_forward(xp, q, k, v, **options)
    results = o, *attention_backward(xp, do, saved)[:3]
    o, saved = flash_attention_forward(xp, q, k, v, **options, tile=(64, 32))
    tiled = o, *flash_attention_backward(xp, do, saved)[:3]
    for a, b in zip(results, tiled):
        np.testing.assert_allclose(a, b, atol=1e-10)
    scores = band.scale * q @ np.repeat(k, H // K, axis=1).swapaxes(-1, -2)
    if band.softcap:
        scores = band.softcap * np.tanh(scores / band.softcap)
    with np.errstate(divide="ignore"):
        lse = np.log(np.sum(np.exp(scores + mask), axis=-1))
    return results[0], lse, *results[1:]


def unfused(q, k, v, do, band):
    """Return o, dq, dk, dv by whole matrices, each rounded to 16 bits: the usual error."""
    (B, H, _, d), (K, S), dtype = q.shape, k.shape[1:3], q.dtype
    rounded = lambda x: x.astype(dtype).astype(np.float32)
    transposed = lambda x: x.swapaxes(-1, -2)
    mask = mask_and_bias(q, k, band).astype(np.float32)
    q, k, v, do = (x.astype(np.float32) for x in (q, k, v, do))
    k, v = (np.repeat(x, H // K, axis=1) for x in (k, v))
    scores, slope = rounded(rounded(q @ transposed(k)) * np.float32(band.scale)), np.float32(1)
    if band.softcap:
        tanh = rounded(np.tanh(scores / np.float32(band.softcap)))
        scores, slope = rounded(np.float32(band.softcap) * tanh), 1 - tanh * tanh
    scores = rounded(scores + mask)
    highest = scores.max(axis=-1, keepdims=True)
    p = np.exp(scores - np.where(highest == -np.inf, 0, highest))
    p = rounded(p / np.maximum(p.sum(axis=-1, keepdims=True), 1e-30))
    dp = rounded(do @ transposed(v))
    ds = rounded(p * (dp - (p * dp).sum(axis=-1, keepdims=True)))
    ds = rounded(rounded(ds * slope) * np.float32(band.scale))
    by_key_head = lambda x: rounded(x.reshape(B, K, H // K, S, d).sum(axis=2))
    dk, dv = (by_key_head(rounded(x)) for x in (transposed(ds) @ q, transposed(p) @ do))
    return rounded(p @ v), rounded(ds @ k), dk, dv


def expect(results, expected, tolerance):
    """Compare, as a part of each array's largest number, or of 4: the largest that went in.

    Where a query sees one key its gradient is dP - D = 0, and has the rounding of dP.
    """
    for name, got, wanted in zip(("o", "lse", "dq", "dk", "dv"), results, expected):
        assert np.array_equal(got == -np.inf, wanted == -np.inf), name
        assert not np.isnan(got).any(), f"{name}: not written"
        got, wanted = (np.where(wanted == -np.inf, 0.0, x) for x in (got, wanted))
        wrong = np.max(np.abs(got - wanted), initial=0.0)
        largest = np.max(np.abs(wanted), initial=4.0)
        assert wrong <= tolerance * largest, f"{name}: {wrong} of {largest}"


def expect_float32(where, arrays, band):
    expect(run(where, *arrays, band), formula(*arrays, band), 2e-6)


def expect_half(where, arrays, band):
    """Compare by FlashAttention's own rule: at most twice the error of unfused attention.

    Its second term is what rounding alone does to numbers of this size (Dao's
    flash-attention, tests/test_flash_attn.py); to both is added what `expect` allows float32, for
    gradients of 0. The lse is never rounded.
    """
    o, lse, *grads = run(where, *arrays, band)
    exact_o, exact_lse, *exact_grads = formula(*arrays, band)
    expect((o[:0], lse), (exact_o[:0], exact_lse), 1e-4)
    exact, dtype = (exact_o, *exact_grads), arrays[0].dtype
    usual = unfused(*arrays, band)
    for name, got, plain, wanted in zip(("o", "dq", "dk", "dv"), (o, *grads), usual, exact):
        assert got.dtype == dtype
        got = got.astype(np.float64)
        assert not np.isnan(got).any(), f"{name}: not written"
        there_and_back = (
            np.float64(np.asarray(wanted + 0.3, dtype) - np.asarray(0.3, dtype)) - wanted
        )
        error, expected = (np.abs(x - wanted).max() for x in (got, plain))
        allowed = 2 * expected + 2 * np.abs(there_and_back).max() + 4 * 2e-6
        assert error <= allowed, f"{name}: {error}, allowed {allowed}"


LENGTHS = st.sampled_from([1, 2, 31, 32, 33, 63, 64, 65, 127, 137])


@st.composite
def problems(draw, dtype=np.float32, d=64):
    """Queries, keys, values, dO and a band, of lengths about those of tiles."""
    B, K, G = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    T, S, rng = draw(LENGTHS), draw(LENGTHS), draw(rngs)
    q, do = (rng.standard_normal((B, K * G, T, d)).astype(dtype) for _ in range(2))
    k, v = (rng.standard_normal((B, K, S, d)).astype(dtype) for _ in range(2))
    band = {"scale": d**-0.5, "offset": draw(st.sampled_from([S - T, 0]))}
    band["least"] = draw(st.sampled_from([0, -FAR, -3]))
    band["most"] = draw(st.sampled_from([FAR, 1, 20, 64]))
    return (q, k, v, do), band


def biased(band, softcap, alibi, n_heads):
    """Return a problem's band with a soft cap, 0 for none, and perhaps with ALiBi's slopes."""
    slopes = np.linspace(0.5, 0.1, n_heads, dtype=np.float32) if alibi else None
    return Band(**band, softcap=softcap, slopes=slopes)


def example(dtype=np.float32, T=130, S=150, d=64, seed=0, **options):
    """A problem with ragged tiles, shared heads and a causal mask."""
    rng = np.random.default_rng(seed)
    q, do = (rng.standard_normal((1, 2, T, d)).astype(dtype) for _ in range(2))
    k, v = (rng.standard_normal((1, 1, S, d)).astype(dtype) for _ in range(2))
    return (q, k, v, do), Band(scale=d**-0.5, offset=S - T, least=0, **options)
