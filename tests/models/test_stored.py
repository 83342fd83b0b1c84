"""tinyllm.models.stored and weights: the names and layouts of files, read both ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy as xp
from models.test_families import SMALL, read
from tiny import random_params
from tinyllm.errors import CheckpointError
from tinyllm.models.config import param_shapes
from tinyllm.models.stored import Stored, put_together, stored_shape, taken_apart
from tinyllm.models.weights import check_params, load_params, parameters_in, stored_tensors

FAMILY = st.sampled_from(list(SMALL))


def model(family, **changes):
    config = read(SMALL[family] | changes)
    return config, random_params(config, dtype=np.float32)


@pytest.mark.parametrize("family", SMALL)
def test_what_is_written_is_read(family):
    config, params = model(family)
    tensors = stored_tensors(params, config)
    assert check_params(tensors, config, where="here") == config
    again = parameters_in(tensors, config)
    loaded = load_params(xp, tensors, config, dtype="float32")
    assert list(again) == list(loaded) == list(param_shapes(config))
    for name, x in params.items():
        np.testing.assert_array_equal(again[name], x)
        np.testing.assert_array_equal(loaded[name], x)
        assert loaded[name].flags.c_contiguous


@given(
    st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=3), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_taking_apart_undoes_putting_together(groups, rows, transposed, vector):
    rng = np.random.default_rng(0)
    shapes = [(groups * n,) if vector else (groups * n, 5) for n in rows]
    parts = [rng.standard_normal(shape) for shape in shapes]
    stored = Stored(tuple("abc"[: len(parts)]), groups, transposed and not vector)
    x = put_together(parts, stored)
    assert x.shape == stored_shape(stored, shapes)
    for part, again in zip(parts, taken_apart(x, stored, shapes), strict=True):
        np.testing.assert_array_equal(again, part)


def test_where_queries_keys_and_values_lie():
    q, k, v = (np.full((4, 1), c) for c in (1.0, 2.0, 3.0))
    joined = put_together([q, k, v], Stored(("q", "k", "v"), 1))
    assert joined[:, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    joined = put_together([q, k, v], Stored(("q", "k", "v"), 2))
    assert joined[:, 0].tolist() == [1, 1, 2, 2, 3, 3] * 2
    joined = put_together([q, k[:2], v[:2]], Stored(("q", "k", "v"), 2))
    assert joined[:, 0].tolist() == [1, 1, 2, 3] * 2


def test_a_matrix_of_gpt2_is_transposed():
    config, params = model("gpt2")
    tensors = stored_tensors(params, config)
    up = params["model.layers.0.mlp.up_proj.weight"]
    np.testing.assert_array_equal(tensors["transformer.h.0.mlp.c_fc.weight"], up.T)
    assert tensors["transformer.h.1.attn.c_attn.weight"].shape == (12, 36)
    assert tensors["transformer.wte.weight"].shape == (7, 12)
    wrong = tensors | {"transformer.h.0.mlp.c_fc.weight": up}
    with pytest.raises(CheckpointError, match=r"h.0.mlp.c_fc.weight.*\(it is transposed\)"):
        check_params(wrong, config, where="here")


@pytest.mark.parametrize("family", ["gpt2", "opt", "bloom", "gpt_neox", "mpt", "falcon"])
def test_a_file_may_leave_out_the_prefix(family):
    config, params = model(family, tie_word_embeddings=False)
    tensors = stored_tensors(params, config)
    prefix = {"opt": "model.", "gpt_neox": "gpt_neox."}.get(family, "transformer.")
    short = {name.removeprefix(prefix): x for name, x in tensors.items()}
    assert short.keys() != tensors.keys()
    check_params(short, config, where="here")
    again = load_params(xp, short, config, dtype="float32")
    assert all(np.array_equal(again[name], params[name]) for name in params)


def test_old_files_hold_masks_beside_the_parameters():
    config, params = model("gpt2")
    masks = {
        "transformer.h.0.attn.bias": np.ones((1, 1, 9, 9), np.float32),
        "transformer.h.0.attn.masked_bias": np.float32(-1e4)[None],
    }
    check_params(stored_tensors(params, config) | masks, config, where="here")
    other = {"transformer.h.0.attn.scale": np.ones(1, np.float32)}
    with pytest.raises(CheckpointError, match=r"attn\.scale"):
        check_params(stored_tensors(params, config) | other, config, where="here")


@given(FAMILY, st.integers(0, 1000))
def test_a_missing_tensor_is_named_as_in_the_file(family, pick):
    config, params = model(family)
    tensors = stored_tensors(params, config)
    name = list(tensors)[pick % len(tensors)]
    with pytest.raises(CheckpointError) as error:
        check_params({k: v for k, v in tensors.items() if k != name}, config, where="here")
    assert name in str(error.value)


def test_the_head_of_a_neox_is_named_as_in_its_files():
    config, params = model("gpt_neox")
    tensors = stored_tensors(params, config)
    assert "embed_out.weight" in tensors
    del tensors["embed_out.weight"]
    with pytest.raises(CheckpointError, match=r"embed_out\.weight is missing"):
        check_params(tensors, config, where="here")
