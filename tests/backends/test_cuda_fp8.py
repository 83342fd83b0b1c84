"""Attention in 8 bits, on an emulator of the GPU: the simulation's numbers."""

import ml_dtypes
import numpy as np
import pytest

import tinyllm_numpy
from emulator.attention import DEVICES, HOPPERS, formula
from emulator.module import COMPILER, ORDERS
from tinyllm.errors import UsageError
from tinyllm.ops.fp8 import fp8_attention
from tinyllm_cuda.attention import Band
from tinyllm_cuda.fp8 import flash_forward_fp8

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")


def example(d=64, T=130, S=128, dtype=np.float16, seed=0):
    """N(0, 1) + N(0, 100) · Bernoulli(0.001): the outliers of FlashAttention-3's experiment."""
    rng = np.random.default_rng(seed)
    draw = lambda n: (
        rng.standard_normal((1, 2, n, d))
        + 10 * (rng.standard_normal((1, 2, n, d)) * (rng.random((1, 2, n, d)) < 1e-3))
    )
    arrays = [draw(n).astype(dtype) for n in (T, S, S)]
    return arrays, Band(scale=d**-0.5), np.float32(np.where(rng.random(d) < 0.5, -1, 1))


def rmse(a, b):
    return np.sqrt(np.mean((np.float64(a) - np.float64(b)) ** 2))


def simulated(arrays, signs):
    return fp8_attention(
        tinyllm_numpy, *(x.astype(np.float32) for x in arrays), block=128, signs=signs
    )


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("S", [100, 128])
def test_within_a_tile_of_keys_it_is_the_simulation(rotated, S):
    arrays, band, signs = example(S=S)
    signs = signs if rotated else None
    o, _ = flash_forward_fp8(HOPPERS["shuffled"], *arrays, band, signs)
    assert rmse(o, simulated(arrays, signs)) < 1e-4  # a result's rounding to 16 bits is 5e-5


@pytest.mark.slow
@pytest.mark.parametrize("d", [64, 128])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("order", ORDERS)
def test_over_tiles_it_errs_as_much_as_the_simulation(d, dtype, order):
    arrays, band, signs = example(d, S=600, dtype=dtype)
    o, lse = flash_forward_fp8(HOPPERS[order], *arrays, band, signs)
    exact, exact_lse = formula(*arrays, np.zeros_like(arrays[0]), band)[:2]
    assert rmse(o, exact) < 1.1 * rmse(simulated(arrays, signs), exact)
    assert rmse(lse, exact_lse) < 0.05


def test_masks_and_shared_heads_are_those_of_16_bits():
    (q, k, v), band, _ = example(T=70, S=5)  # 65 queries stand before the first key
    band = Band(scale=band.scale, offset=5 - 70, least=0)
    k, v = k[:, :1].copy(), v[:, :1].copy()
    o, lse = flash_forward_fp8(HOPPERS["forward"], q, k, v, band)
    exact, exact_lse = formula(q, k, v, np.zeros_like(q), band)[:2]
    assert not o[:, :, :65].any()
    assert (lse[:, :, :65] == -np.inf).all()
    assert rmse(o, exact) < 0.05
    assert rmse(lse[:, :, 65:], exact_lse[:, :, 65:]) < 0.05


def test_what_it_does_not_take_is_refused():
    (q, k, v), band, _ = example()
    with pytest.raises(UsageError, match="fp8 attention of float16 heads of 64, expected 64 or"):
        flash_forward_fp8(DEVICES["forward"], q, k, v, band)
    wide = [np.concatenate([x, x, x], axis=-1) for x in (q, k, v)]
    with pytest.raises(UsageError, match="heads of 192, expected 64 or 128 on a Hopper"):
        flash_forward_fp8(HOPPERS["forward"], *wide, band)
    with pytest.raises(UsageError, match="130 queries and 0 keys"):
        flash_forward_fp8(HOPPERS["forward"], q, k[:, :, :0], v[:, :, :0], band)
