"""Every operation: its form, its dtype, its gradient's existence."""

import inspect

import numpy as np
import pytest

from shapes import shape_line
from strategies import float32_pair
from tinyllm.ops import examples

PAIRS = examples.pairs()
EXAMPLES = {name: draw(np.random.default_rng(7)) for name, draw in examples.EXAMPLES.items()}
# How many of the first arrays have a row for each of the batch.
BATCHED = {"attention": 3, "recurrent": 2, "negative_sampling": 3, "glove": 5}
BATCHED |= {"expert_weights": 2, "balance": 2, "kl": 2, "reverse_kl": 2, "mean_square": 2}
BATCHED |= {name: 3 for name in PAIRS if name.endswith("_cell") or name.startswith("flash")}


def test_every_operation_has_an_example():
    assert set(EXAMPLES) == set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_every_operation_is_a_pair_with_a_shape_line(name):
    forward, backward = PAIRS[name]
    assert shape_line(forward), f"{name}_forward has no shape line"
    assert next(iter(inspect.signature(forward).parameters)) == "xp"
    assert list(inspect.signature(backward).parameters) == ["xp", "dy", "saved"]
    source = inspect.getsource(inspect.getmodule(forward))
    between = source.split(f"def {name}_forward")[1].split(f"def {name}_backward")[0]
    assert "\ndef " not in between, f"something stands between {name}_forward and its backward"


@pytest.mark.parametrize("name", PAIRS)
def test_float32_stays_float32_and_no_argument_changes(xp, name):
    arrays, options = EXAMPLES[name]
    y, *grads = float32_pair(xp, *PAIRS[name], *arrays, **options)
    assert y is not None
    assert len(grads) == len(arrays)


@pytest.mark.parametrize("name", PAIRS)
def test_an_empty_batch_gives_an_empty_result(xp, name):
    arrays, options = EXAMPLES[name]
    if name == "cross_entropy":
        pytest.skip("no target counts: that is an error, tested in test_losses.py")
    batched = BATCHED.get(name, 1)
    first = [a[:0] if i < batched else a for i, a in enumerate(arrays)]
    y, _ = PAIRS[name].forward(xp, *map(xp.asarray, first), **options)
    assert y.shape[0] == 0
