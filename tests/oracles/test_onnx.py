"""The operations against the ONNX project's own vectors: calls of its operators, with outputs.

Every case of the index is run, or stands in DOES_NOT_APPLY with the reason.
"""

import json

import numpy as np
import pytest

from conftest import DATA, data
from oracles.onnx_operators import OPERATORS

FOLDER = DATA / "oracles" / "onnx"
INDEX = json.loads((FOLDER / "index.json").read_text()) if FOLDER.exists() else {}

_OPTIMISER = "an optimiser: tests/training/test_optimizers.py runs it"
_WEIGHTS = "weighs the classes, which no language model's loss does; tinyllm has no such weights"
DOES_NOT_APPLY = {  # a case or an operator: why
    "Adagrad": _OPTIMISER,
    "Adam": _OPTIMISER,
    "Momentum": _OPTIMISER,
} | dict.fromkeys(
    [
        "test_nllloss_NCd1_mean_weight_negative_ii",
        "test_nllloss_NCd1_weight",
        "test_nllloss_NCd1_weight_ii",
        "test_nllloss_NCd1d2_with_weight",
        "test_nllloss_NCd1d2_with_weight_reduction_mean",
        "test_nllloss_NCd1d2d3_sum_weight_high_ii",
        "test_nllloss_NCd1d2d3d4d5_mean_weight",
        "test_sce_NCd1_mean_weight_negative_ii",
        "test_sce_NCd1d2d3_sum_weight_high_ii",
        "test_sce_NCd1d2d3d4d5_mean_weight_log_prob",
        "test_sce_mean_weight",
        "test_sce_mean_weight_ii",
        "test_sce_mean_weight_ii_3d_log_prob",
        "test_sce_mean_weight_ii_4d",
        "test_sce_mean_weight_log_prob",
        "test_sce_none_weights",
        "test_sce_none_weights_log_prob",
    ],
    _WEIGHTS,
)
APPLIES = [
    case
    for case, about in INDEX.items()
    if case not in DOES_NOT_APPLY and about["op"] not in DOES_NOT_APPLY
]

# Different orders of summation: a few units in the last place, for outputs of order 1. The float16
# vectors were also computed in float16, where one unit is 2**-10 of the value.
TOLERANCE = {"float32": {"rtol": 1e-5, "atol": 1e-6}, "float16": {"rtol": 2**-9, "atol": 2**-12}}


def arrays(case):
    """Return the inputs and the expected outputs of a case, by name."""
    sides = {"input": {}, "output": {}}
    with np.load(FOLDER / f"{case}.npz") as file:
        for key in file:
            set_, side, name = key.split("__")
            assert set_ == "set0"
            sides[side.rstrip("0123456789")][name] = file[key]
    return sides["input"], sides["output"]


@pytest.mark.parametrize("case", APPLIES)
def test_case(xp, case):
    about = INDEX[case]
    given, expected = arrays(case)
    assert list(given) == about["graph_inputs"]
    assert list(expected) == about["graph_outputs"]
    checked = set()
    for name, computed, wanted in OPERATORS[about["op"]](xp, given, expected, **about["attrs"]):
        assert computed.shape == wanted.shape
        assert np.isfinite(computed).all()
        tolerance = TOLERANCE[str(expected[name].dtype)]
        np.testing.assert_allclose(computed, wanted, **tolerance, err_msg=name)
        checked.add(name)
    assert checked == set(expected), "an output was not checked"


def test_every_case_runs_or_has_a_reason_not_to():
    folder = data("oracles/onnx")
    assert {path.stem for path in folder.glob("*.npz")} == set(INDEX)
    excused = {case for case, about in INDEX.items() if {case, about["op"]} & DOES_NOT_APPLY.keys()}
    assert sorted([*APPLIES, *excused]) == sorted(INDEX)
    operators = {INDEX[case]["op"] for case in APPLIES}
    assert operators == OPERATORS.keys(), "an operator without a function, or the reverse"


def test_every_reason_is_given_and_needed():
    data("oracles/onnx")
    operators = {about["op"] for about in INDEX.values()}
    assert all(reason.strip() for reason in DOES_NOT_APPLY.values())
    assert INDEX.keys() | operators >= DOES_NOT_APPLY.keys(), "an excuse for no case"
    weighted = {
        case
        for case, about in INDEX.items()
        if about["op"].endswith("Loss") and len(about["graph_inputs"]) == 3
    }
    assert {case for case, reason in DOES_NOT_APPLY.items() if reason == _WEIGHTS} == weighted
