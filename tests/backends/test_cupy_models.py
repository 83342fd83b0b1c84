"""Whole models on the CuPy backend, over a stand-in for CuPy: what is kept in which dtype."""

import ml_dtypes
import numpy as np
import pytest

import tinyllm
import tinyllm_numpy
from emulator import cupy_stand_in
from emulator.module import COMPILER
from tinyllm.errors import UsageError
from tinyllm.inference.session import Session
from tinyllm_cuda.launch import KERNELS

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
NARROW = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}
TOKENS = np.arange(1, 41)[None]
xp = cupy_stand_in.load()


@pytest.fixture
def load(monkeypatch):
    """Load the model that ships, on the stand-in."""
    monkeypatch.setattr("tinyllm.model.get_backend", {"cupy": xp, "numpy": tinyllm_numpy}.get)
    return lambda **options: tinyllm.load(backend="cupy", **options)


def test_float32_scores_as_on_the_cpu(load):
    wanted = tinyllm.load().forward(TOKENS)
    got = xp.to_numpy(load().forward(TOKENS))
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.skipif(not (KERNELS / "flash_mma.cu").exists(), reason="no kernels of 16 bits")
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
    options = {"temperature": 0, "max_tokens": 8, "seed": 1}
    for other in ({}, {"temperature": 0.9}):
        theirs = tinyllm.load().generate("Once upon a time", **options | other)
        assert load().generate("Once upon a time", **options | other).tokens == theirs.tokens


def test_rounded_weights_are_refused(load):
    with pytest.raises(UsageError, match="int8 is for the numpy backend, and this is cupy"):
        load(storage="int8")
