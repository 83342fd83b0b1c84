"""Mixtures of experts for one token by kernels, on an emulator of the GPU."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from emulator.backend import device
from emulator.module import COMPILER, ORDERS
from strategies import rngs
from tinyllm.ops.norms import rmsnorm_forward
from tinyllm.ops.quantization import dequantize, quantize
from tinyllm.ops.routing import Routing, choose_experts, expert_weights_forward
from tinyllm_cuda.decode_kernels import experts, gemv_grid, route
from tinyllm_cuda.launch import launch

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
DEVICES = {order: device(order) for order in ORDERS}
NONE, EPS = np.zeros(1, np.float32), 1e-5


@settings(max_examples=20)
@given(
    st.sampled_from([1, 2, 5, 8, 33, 64]), st.integers(1, 8), st.booleans(), st.booleans(),
    st.sampled_from([3, 64]), st.sampled_from(ORDERS), rngs,
)  # fmt: skip
def test_the_router_chooses_and_weights_as_the_portable_one(E, k, renormalise, tied, C, order, rng):
    k, scale = min(k, E), 1.5
    weight = rng.standard_normal((E, C)).astype(np.float32)
    if tied:
        weight[:] = weight[0]  # of equals the lowest number
    x, gain = (rng.standard_normal(C).astype(np.float32) for _ in range(2))
    ids, weights = np.full(k, -1, np.int32), np.full(k, np.nan, np.float32)
    arguments = (x, gain, weight, NONE, ids, weights, E, k, int(renormalise), C, EPS, scale)
    launch(DEVICES[order], route("float32", C, E), (1,), arguments)
    normal = rmsnorm_forward(tinyllm_numpy, x.astype(np.float64), gain, eps=EPS)[0]
    scores = (weight @ normal)[None]
    routing = Routing(k=k, renormalise=renormalise, scale=scale)
    wanted = np.arange(k)[None] if tied else choose_experts(tinyllm_numpy, scores, routing)
    assert ids.tolist() == wanted[0].tolist()
    expected, _ = expert_weights_forward(
        tinyllm_numpy, scores, wanted, renormalise=renormalise, scale=scale
    )
    np.testing.assert_allclose(weights, expected[0], rtol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("format", ["float32", "int4"])
def test_of_the_experts_that_were_not_chosen_nothing_is_read(format, order):
    """They lie at address 0, where a single read would end the process."""
    rng, (n, C), chosen = np.random.default_rng(0), (33, 64), np.array([4, 1], np.int32)
    x, gain = (rng.standard_normal(C).astype(np.float32) for _ in range(2))
    kept, exact, tables = {}, {}, {}
    for name, shape in (("gate", (n, C)), ("up", (n, C)), ("down", (n, C))):
        tables[name] = np.zeros((6, 2), np.uint64)
        for e in chosen:
            w = rng.standard_normal(shape).astype(np.float32)
            q = quantize(w, bits=4) if format == "int4" else None
            arrays = (w, NONE) if q is None else (q.values, q.scales)
            kept[name, e], exact[name, e] = arrays, w if q is None else dequantize(tinyllm_numpy, q)
            tables[name][e] = [array.ctypes.data for array in arrays]
    h = np.full((2, n), np.nan, np.float32)
    arguments = (x, gain, tables["gate"], tables["up"], chosen, h, n, C, EPS)
    launch(DEVICES[order], experts("experts_swiglu", format, C), (*gemv_grid(n, 1), 2), arguments)
    normal = rmsnorm_forward(tinyllm_numpy, x.astype(np.float64), gain, eps=EPS)[0]
    gates, ups = ([exact[name, e] @ normal for e in chosen] for name in ("gate", "up"))
    for got, gate, up in zip(h, gates, ups):
        np.testing.assert_allclose(got, gate / (1 + np.exp(-gate)) * up, atol=1e-3, rtol=1e-5)
    y, weights = rng.standard_normal(n).astype(np.float32), np.array([0.7, 0.4], np.float32)
    before, given = y.copy(), rng.standard_normal((2, C)).astype(np.float32)
    arguments = (tables["down"], chosen, weights, given, y, 2, n, C)
    launch(DEVICES[order], experts("experts_add", format, C), (3,), arguments)
    made = [w * exact["down", e] @ v for w, e, v in zip(weights, chosen, given)]
    np.testing.assert_allclose(y, before + sum(made), atol=1e-4)
