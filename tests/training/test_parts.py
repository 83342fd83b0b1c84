"""tinyllm.training.parts, and a trainer that holds some of a model only."""

import numpy as np
import pytest

import tinyllm_numpy
from tiny import random_params, tiny_config
from tinyllm.adaptation.lora import Adapted, Lora, init_adapters
from tinyllm.models.weights import stored_tensors
from tinyllm.training.divergence import DivergedError
from tinyllm.training.parts import WHOLE, PartlyFrozen, fingerprint
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.windows import Windows, WindowsInOrder

CONFIG = tiny_config(n_layers=1)
PARAMS = random_params(CONFIG)
TOKENS = np.random.default_rng(0).integers(0, 11, 100)


def trainer(params, parts):
    settings = Settings(steps=3, batch_size=2, seq_len=5, lr=0.01, eval_every=0)
    data, held_out = Windows(TOKENS, 5), WindowsInOrder(TOKENS, 5)
    return Trainer(tinyllm_numpy, CONFIG, params, data, settings, parts=parts, validation=held_out)


def test_what_is_frozen_stays_and_the_rest_learns():
    mine = {name: x for name, x in PARAMS.items() if ".mlp." in name}
    rest = {name: x for name, x in PARAMS.items() if name not in mine}
    some = trainer(mine, PartlyFrozen(rest))
    assert some.evaluate() == trainer(PARAMS, WHOLE).evaluate()
    list(some)
    model = some.parts.model(tinyllm_numpy, some.result)
    for name, x in model.items():
        assert (x == PARAMS[name]).all() == (name in rest), name
    assert set(stored_tensors(model, CONFIG)) == set(PARAMS)


def test_the_first_step_of_some_is_that_of_all():
    mine = {name: x for name, x in PARAMS.items() if ".mlp." in name}
    rest = {name: x for name, x in PARAMS.items() if name not in mine}
    some, whole = trainer(mine, PartlyFrozen(rest)), trainer(PARAMS, WHOLE)
    found, all_of_it = (t._gradients(1)[0].grads for t in (some, whole))
    assert set(found) == set(mine)
    for name, grad in found.items():
        np.testing.assert_array_equal(grad, all_of_it[name])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_it_goes_astray_is_told_with_adapters_too():
    lora = Lora(rank=2, alpha=4.0)
    adapters = init_adapters(CONFIG, lora, np.random.default_rng(0), np.float64)
    name = "model.layers.0.mlp.up_proj.lora_A.weight"
    for bad, line in (
        ({name: np.full((2, 6), np.inf)}, r"up_proj\.lora_A\.weight|up_proj\.lora"),
        ({}, "model.norm.weight is not finite"),
    ):
        base = PARAMS if bad else PARAMS | {"model.norm.weight": np.full(6, np.nan)}
        with pytest.raises(DivergedError, match=line):
            trainer(adapters | bad, Adapted(config=CONFIG, base=base, lora=lora)).advance()


def test_a_fingerprint_is_of_names_and_numbers():
    same = fingerprint(tinyllm_numpy, dict(reversed(PARAMS.items())))
    assert fingerprint(tinyllm_numpy, PARAMS) == same
    name = "model.norm.weight"
    for other in (
        PARAMS | {name: PARAMS[name] + 1e-15},
        PARAMS | {name: PARAMS[name].astype(np.float32)},
        {f"{key}.": x for key, x in PARAMS.items()},
    ):
        assert fingerprint(tinyllm_numpy, other) != same
