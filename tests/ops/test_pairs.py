"""Every operation: its form, its dtype, its gradient's existence."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import tinyllm.ops
from shapes import shape_line
from strategies import float32_pair
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.recurrent import LSTM

MODULES = [
    importlib.import_module(f"tinyllm.ops.{m.name}")
    for m in pkgutil.iter_modules(tinyllm.ops.__path__)
]
PAIRS = {
    name.removesuffix("_forward"): module
    for module in MODULES
    for name, function in vars(module).items()
    if name.endswith("_forward") and function.__module__ == module.__name__
}
rng = np.random.default_rng(7)


def normal(*shape):
    return rng.standard_normal(shape)


EXAMPLES = {
    "linear": ([normal(2, 3, 4), normal(5, 4), normal(5)], {}),
    "embedding": ([rng.integers(0, 5, (2, 3)), normal(5, 4)], {}),
    "rmsnorm": ([normal(2, 3, 4), normal(4)], {"eps": 1e-5}),
    "layernorm": ([normal(2, 3, 4), normal(4), normal(4)], {"eps": 1e-5}),
    "relu": ([normal(2, 3)], {}),
    "gelu": ([normal(2, 3)], {}),
    "gelu_tanh": ([normal(2, 3)], {}),
    "silu": ([normal(2, 3)], {}),
    "dropout": ([normal(2, 3)], {"dropout": Dropout(rate=0.5, rng=np.random.default_rng(0))}),
    "softmax": ([normal(2, 3)], {}),
    "log_softmax": ([normal(2, 3)], {}),
    "cross_entropy": ([normal(2, 3, 5), rng.integers(0, 5, (2, 3))], {"label_smoothing": 0.1}),
    "rope_half": ([normal(2, 3, 4, 6), normal(4, 3), normal(4, 3)], {}),
    "rope_interleaved": ([normal(2, 3, 4, 6), normal(4, 3), normal(4, 3)], {}),
    "attention": (
        [normal(2, 4, 3, 6), normal(2, 2, 5, 6), normal(2, 2, 5, 7), normal(4, 3, 5)],
        {"softcap": 5.0},
    ),
    "tanh_cell": ([normal(2, 3), normal(2, 3), normal(2, 3)], {}),
    "relu_cell": ([normal(2, 3), normal(2, 3), normal(2, 3)], {}),
    "lstm_cell": ([normal(2, 12), normal(2, 12), normal(2, 6)], {}),
    "linear_candidate_cell": ([normal(2, 12), normal(2, 12), normal(2, 6)], {}),
    "gru_cell": ([normal(2, 9), normal(2, 9), normal(2, 3)], {}),
    "recurrent": (
        [normal(2, 3, 4), normal(2, 10), normal(20, 4), normal(20, 5), normal(20), normal(20)],
        {"cell": LSTM},
    ),
}
# How many of the first arrays have a row for each of the batch.
BATCHED = {"attention": 3, "recurrent": 2} | {name: 3 for name in PAIRS if name.endswith("_cell")}


def test_every_operation_has_an_example():
    assert set(EXAMPLES) == set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_every_operation_is_a_pair_with_a_shape_line(name):
    forward = getattr(PAIRS[name], f"{name}_forward")
    backward = getattr(PAIRS[name], f"{name}_backward")
    assert shape_line(forward), f"{name}_forward has no shape line"
    assert next(iter(inspect.signature(forward).parameters)) == "xp"
    assert list(inspect.signature(backward).parameters) == ["xp", "dy", "saved"]
    source = inspect.getsource(PAIRS[name])
    between = source.split(f"def {name}_forward")[1].split(f"def {name}_backward")[0]
    assert "\ndef " not in between, f"something stands between {name}_forward and its backward"


@pytest.mark.parametrize("name", PAIRS)
def test_float32_stays_float32_and_no_argument_changes(xp, name):
    arrays, options = EXAMPLES[name]
    forward, backward = (getattr(PAIRS[name], f"{name}_{way}") for way in ("forward", "backward"))
    y, *grads = float32_pair(xp, forward, backward, *arrays, **options)
    assert y is not None
    assert len(grads) == len(arrays)


@pytest.mark.parametrize("name", PAIRS)
def test_an_empty_batch_gives_an_empty_result(xp, name):
    arrays, options = EXAMPLES[name]
    if name == "cross_entropy":
        pytest.skip("no target counts: that is an error, tested in test_losses.py")
    batched = BATCHED.get(name, 1)
    first = [a[:0] if i < batched else a for i, a in enumerate(arrays)]
    forward = getattr(PAIRS[name], f"{name}_forward")
    y, _ = forward(xp, *map(xp.asarray, first), **options)
    assert y.shape[0] == 0
