"""The plan finds everything that does not fit, before any data is read."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.checkpoints.plan import check_plan
from tinyllm.errors import CheckpointError

SHAPES = {
    "model.embed_tokens.weight": (7, 4),
    "model.layers.0.mlp.up_proj.weight": (6, 4),
    "model.layers.1.mlp.up_proj.weight": (6, 4),
    "model.norm.weight": (4,),
}


def full():
    return {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}


def refusal(tensors, **options):
    with pytest.raises(CheckpointError) as caught:
        check_plan(SHAPES, tensors, "the file x", **options)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 5000
    return str(caught.value)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_right_tensors_fit(dtype):
    check_plan(SHAPES, {name: x.astype(dtype) for name, x in full().items()}, "x")


@given(name=st.sampled_from(list(SHAPES)))
def test_any_missing_tensor_is_named(name):
    tensors = full()
    del tensors[name]
    assert refusal(tensors) == (
        f"the file x does not fit its config of 4 tensors: 1 missing: {name!r}"
    )


@given(name=st.sampled_from(list(SHAPES)))
def test_a_renamed_tensor_is_named_with_its_old_and_new_name(name):
    tensors = full()
    tensors[name + "s"] = tensors.pop(name)
    message = refusal(tensors)
    assert f"1 missing: {name!r} (there is {name + 's'!r})" in message
    assert f"1 unexpected: {name + 's'!r}" in message


def test_the_nearest_name_is_one_of_the_same_layer():
    tensors = full()
    del tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.layers.0.mlp.up_proj.weights"] = np.zeros(1)
    tensors["model.layers.1.mlp.w_up.weight"] = np.zeros(1)
    assert "(there is 'model.layers.1.mlp.w_up.weight')" in refusal(tensors)


@given(name=st.sampled_from([name for name in SHAPES if len(SHAPES[name]) == 2]))
def test_a_transposed_tensor_is_named_as_such(name):
    tensors = full()
    tensors[name] = tensors[name].T
    shape = SHAPES[name]
    says = f"{name!r} has shape {shape[::-1]}, expected {shape} (it is transposed)"
    assert says in refusal(tensors)


def test_another_shape_is_shown_beside_the_expected_one():
    tensors = full() | {"model.norm.weight": np.zeros((5,), np.float32)}
    assert "'model.norm.weight' has shape (5,), expected (4,)" in refusal(tensors)
    assert "transposed" not in refusal(tensors)


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int64, bool, np.complex64, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
)
def test_a_dtype_that_is_no_plain_float_is_refused_by_name(dtype):
    tensors = full() | {"model.norm.weight": np.zeros(4, dtype)}
    says = f"'model.norm.weight' has dtype {np.dtype(dtype)}, expected F64, F32, F16 or BF16"
    assert says in refusal(tensors)


def test_everything_is_reported_at_once():
    tensors = full()
    del tensors["model.norm.weight"]
    tensors["extra"] = np.zeros(1)
    tensors["model.embed_tokens.weight"] = np.zeros((1, 1), np.int8)
    message = refusal(tensors)
    for part in ("1 missing", "1 unexpected: 'extra'", "1 of another shape", "1 of another kind"):
        assert part in message


def test_the_first_five_are_shown_and_all_are_counted():
    message = refusal({f"x{i}": np.zeros(1) for i in range(9)})
    assert "9 unexpected: 'x0', 'x1', 'x2', 'x3', 'x4', …" in message
    assert "4 missing" in message


def test_named_buffers_may_be_there_or_not():
    tensors = full() | {"model.layers.0.rotary_emb.inv_freq": np.zeros(2)}
    assert "unexpected" in refusal(tensors)
    check_plan(SHAPES, tensors, "x", ignore=(".rotary_emb.inv_freq",))


def test_hostile_names_cost_little():
    tensors = {"\n" * 10**6: np.zeros(1)} | {f"a{i}" * 50: np.zeros(1) for i in range(10**4)}
    assert "10001 unexpected" in refusal(tensors)
