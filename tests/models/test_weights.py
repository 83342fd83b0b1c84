"""tinyllm.models.weights: the strict plan, ties and dtypes."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy as xp
from tiny import random_params, tiny_config
from tinyllm.errors import CheckpointError
from tinyllm.models.weights import check_params, load_params

CONFIG = tiny_config(qkv_bias=True)
PARAMS = random_params(CONFIG, dtype=np.float32)
names = st.sampled_from(sorted(PARAMS))


def complaint(tensors, config=CONFIG, **options):
    with pytest.raises(CheckpointError) as error:
        check_params(tensors, config, where="the folder", **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_fits_is_taken():
    assert check_params(PARAMS, CONFIG, where="here") == CONFIG
    params = load_params(xp, PARAMS, CONFIG, dtype="float32")
    assert all(np.shares_memory(params[name], PARAMS[name]) for name in PARAMS)


@given(names)
def test_a_missing_tensor_is_named(name):
    said = complaint({k: v for k, v in PARAMS.items() if k != name})
    assert name in said


@given(names)
def test_a_renamed_tensor_is_named_with_what_is_there(name):
    renamed = {k if k != name else k.replace("weight", "wieght"): v for k, v in PARAMS.items()}
    if name.endswith("weight"):
        said = complaint(renamed)
        assert name in said
        assert name.replace("weight", "wieght") in said or "lm_head" in name


@given(names)
def test_a_reshaped_tensor_is_named_with_both_shapes(name):
    tensor = PARAMS[name]
    said = complaint(PARAMS | {name: tensor.reshape(*tensor.shape, 1)})
    assert name in said
    assert str((*tensor.shape, 1)) in said
    assert str(tensor.shape) in said


@given(names.filter(lambda n: PARAMS[n].ndim == 2 and len(set(PARAMS[n].shape)) == 2))
def test_a_transposed_tensor_is_named_as_such(name):
    said = complaint(PARAMS | {name: PARAMS[name].T})
    assert name in said
    assert "transposed" in said


def test_an_extra_tensor_is_named():
    assert "vision.weight" in complaint(PARAMS | {"vision.weight": np.zeros(3, np.float32)})


def test_all_misfits_come_at_once():
    tensors = dict(PARAMS)
    del tensors["model.norm.weight"]
    tensors["model.layers.0.mlp.up_proj.weight"] = np.zeros((2, 2), np.float32)
    tensors["extra"] = np.zeros(1, np.float32)
    said = complaint(tensors)
    assert all(n in said for n in ("model.norm.weight", "layers.0.mlp.up_proj.weight", "extra"))


def test_the_frequencies_in_old_files_are_no_matter():
    old = PARAMS | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(2, np.float32)}
    assert check_params(old, CONFIG, where="here") == CONFIG
    assert set(load_params(xp, old, CONFIG, dtype="float32")) == set(PARAMS)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_float_is_widened_exactly(kind, dtype):
    stored = {name: value.astype(kind) for name, value in PARAMS.items()}
    check_params(stored, CONFIG, where="here")
    params = load_params(xp, stored, CONFIG, dtype=dtype)
    for name, value in stored.items():
        assert params[name].dtype == dtype
        assert np.array_equal(params[name], value.astype(np.float64).astype(dtype))


def test_integers_are_refused():
    name = "model.norm.weight"
    assert name in complaint(PARAMS | {name: PARAMS[name].astype(np.int8)})


class TestTies:
    """tie_word_embeddings and lm_head.weight, in their four combinations."""

    tied = tiny_config(tie_embeddings=True)
    without_head = random_params(tied, dtype=np.float32)
    same_head = without_head | {"lm_head.weight": without_head["model.embed_tokens.weight"]}
    own_head = without_head | {"lm_head.weight": without_head["model.embed_tokens.weight"] + 1}

    def test_tied_without_a_head(self):
        assert check_params(self.without_head, self.tied, where="here").tie_embeddings

    def test_tied_with_an_equal_head(self):
        assert check_params(self.same_head, self.tied, where="here").tie_embeddings
        params = load_params(xp, self.same_head, self.tied, dtype="float32")
        assert "lm_head.weight" not in params

    def test_tied_with_another_head_must_be_decided(self):
        assert "--tie yes" in complaint(self.own_head, self.tied)
        assert check_params(self.own_head, self.tied, where="here", tie=True).tie_embeddings
        assert not check_params(self.own_head, self.tied, where="here", tie=False).tie_embeddings

    def test_untied_without_a_head_must_be_decided(self):
        untied = tiny_config()
        assert "--tie yes" in complaint(self.without_head, untied)
        assert check_params(self.without_head, untied, where="here", tie=True).tie_embeddings
        assert "lm_head.weight" in complaint(self.without_head, untied, tie=False)
