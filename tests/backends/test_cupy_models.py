"""Whole models on the CuPy backend, over a stand-in for CuPy: what is kept in which dtype."""

import ml_dtypes
import numpy as np
import pytest

import tinyllm
import tinyllm_numpy
from emulator import cupy_stand_in
from emulator.module import COMPILER
from tiny import random_params, tiny_config, tree_of
from tinyllm.inference.session import Session
from tinyllm.models.decoder import decoder_backward, decoder_forward
from tinyllm.models.positions import Alibi
from tinyllm.params import nest
from tinyllm_cuda.launch import KERNELS

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
NARROW = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}
TOKENS = np.arange(1, 41)[None]
xp = cupy_stand_in.load()
narrow_kernels = pytest.mark.skipif(
    not (KERNELS / "flash_mma.cu").exists(), reason="no kernels of 16 bits"
)


@pytest.fixture
def load(monkeypatch):
    """Load the model that ships, on the stand-in."""
    monkeypatch.setattr("tinyllm.model.get_backend", {"cupy": xp, "numpy": tinyllm_numpy}.get)
    return lambda **options: tinyllm.load(backend="cupy", **options)


def test_float32_scores_as_on_the_cpu(load):
    wanted = tinyllm.load().forward(TOKENS)
    got = xp.to_numpy(load().forward(TOKENS))
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


@narrow_kernels
@pytest.mark.parametrize("storage", NARROW)
def test_matrices_and_the_cache_have_16_bits_and_scores_float32(load, storage):
    model, wanted = load(storage=storage), tinyllm.load(storage=storage).forward(TOKENS)
    for name, x in model.params.items():
        assert x.dtype == (NARROW[storage] if x.ndim == 2 else np.float32), name
    got = model.forward(TOKENS)
    assert got.dtype == np.float32
    error = np.linalg.norm(xp.to_numpy(got) - wanted) / np.linalg.norm(wanted)
    assert error < {"bfloat16": 2e-2, "float16": 3e-3}[storage]
    session = Session(xp, model._packed_tree(), model.config, TOKENS.tolist(), max_tokens=2)
    cached = session.prefill()[0], session.step([41])[0]
    assert {x.dtype for x in session._reader._kv.keys} == {NARROW[storage]}
    whole = xp.to_numpy(model.forward(np.arange(1, 42)[None]))[0, -2:]
    assert np.linalg.norm(cached - whole) < 2e-2 * np.linalg.norm(whole)


def test_it_writes_what_the_cpu_writes(load):
    """Greedily, as long as the two best scores are apart; and with the same draws."""
    ours, theirs = load(), tinyllm.load()
    for temperature in (0, 0.9):
        options = {"temperature": temperature, "max_tokens": 8, "seed": 1}
        wanted = theirs.generate("Once upon a time", **options)
        assert ours.generate("Once upon a time", **options).tokens == wanted.tokens
        if temperature == 0:
            prompt = theirs.encode_prompt("Once upon a time")
            scores = np.sort(theirs.forward([prompt + wanted.tokens])[0, len(prompt) - 1 : -1])
            assert (scores[:, -1] - scores[:, -2]).min() > 1e-3 * np.abs(scores).max()


@pytest.mark.parametrize("storage", [None, "bfloat16", "int4"])
def test_a_model_goes_to_the_gpu_and_back(load, storage):
    model = tinyllm.load(storage=storage)
    there = model.to_backend("cupy")
    assert there.xp is xp
    assert there.eos_ids == model.eos_ids
    back = there.to_backend("numpy")
    for name, x in model.params.items():
        other = back.params[name]
        assert other.dtype == x.dtype, name
        for part in ("values", "scales") if x.dtype == "int4" else (None,):
            a, b = (getattr(y, part) if part else y for y in (x, other))
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert back.generate("Once", temperature=0, max_tokens=3).text == model.generate(
        "Once", temperature=0, max_tokens=3
    ).text  # fmt: skip
    if storage is None:
        wanted = model.forward(TOKENS)
        assert np.abs(xp.to_numpy(there.forward(TOKENS)) - wanted).max() < 1e-3


@narrow_kernels
@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_rounded_weights_score_as_on_the_cpu(load, storage):
    model, wanted = load(storage=storage), tinyllm.load(storage=storage).forward(TOKENS)
    error = np.linalg.norm(xp.to_numpy(model.forward(TOKENS)) - wanted) / np.linalg.norm(wanted)
    assert error < 2e-2  # the head and what is looked up have 16 bits, and so have their products


@pytest.mark.parametrize("changes", [{"positions": Alibi()}, {"attention_softcap": 2.0}, {}])
def test_what_models_do_to_scores_is_done_by_kernels(changes, monkeypatch):
    config = tiny_config(n_heads=2, n_kv_heads=1, head_dim=16, **changes)
    p, tokens = random_params(config, dtype=np.float32), np.array([[1, 2, 3, 4, 5, 6]])
    scope, ran = xp.attention_forward.__globals__, []
    forward = scope["flash_forward"]
    monkeypatch.setitem(scope, "flash_forward", lambda *a: ran.append(a[-1]) or forward(*a))
    got, saved = decoder_forward(xp, xp.asarray(tokens), tree_of(xp, p), config)
    assert len(ran) == config.n_layers
    wanted, saved_too = decoder_forward(tinyllm_numpy, tokens, nest(p), config)
    np.testing.assert_allclose(xp.to_numpy(got), wanted, atol=2e-5)
    _, grads = decoder_backward(xp, xp.ones_like(got), saved)
    _, expected = decoder_backward(tinyllm_numpy, np.ones_like(wanted), saved_too)
    for name, g in expected.items():
        assert np.abs(xp.to_numpy(grads[name]) - g).max() < 1e-4 * np.abs(g).max(initial=1), name
