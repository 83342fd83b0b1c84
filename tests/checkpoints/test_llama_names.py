"""Hugging Face's and Meta's dialects of Llama say the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints.llama_files import assert_same, llama, llamas
from tinyllm.checkpoints.llama_names import hf_to_meta, meta_to_hf, to_hf_name, to_meta_name
from tinyllm.errors import CheckpointError


@given(model=llamas(derived=False))
def test_there_and_back_is_the_identity(model):
    config, tensors = model
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    meta = hf_to_meta(tensors, heads, kv, "x")
    assert {to_hf_name(name) for name in meta} == tensors.keys()
    assert_same(meta_to_hf(meta, heads, kv, "x"), tensors)


def test_queries_are_reordered_by_head_and_keys_by_key_head():
    """Row r of head h is feature r in the half layout: 0 2 1 3 becomes 0 1 2 3 and so on."""
    rows = np.arange(8.0)[:, None]
    tensors = {
        "model.layers.0.self_attn.q_proj.weight": rows,
        "model.layers.0.self_attn.k_proj.weight": rows,
        "model.layers.0.self_attn.v_proj.weight": rows,
        "model.layers.0.self_attn.q_proj.bias": rows[:, 0],
    }
    meta = hf_to_meta(tensors, 2, 1, "x")
    per_head = [0, 2, 1, 3, 4, 6, 5, 7]
    assert meta["layers.0.attention.wq.weight"][:, 0].tolist() == per_head
    assert meta["layers.0.attention.wq.bias"].tolist() == per_head
    assert meta["layers.0.attention.wk.weight"][:, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert meta["layers.0.attention.wv.weight"] is rows


def test_all_else_is_shared_and_not_copied():
    _, tensors = llama()
    meta = hf_to_meta(tensors, 2, 1, "x")
    for name, tensor in tensors.items():
        copied = ".q_proj." in name or ".k_proj." in name
        assert (meta[to_meta_name(name)] is tensor) == (not copied)


def test_the_frequencies_of_old_files_are_dropped():
    assert meta_to_hf({"rope.freqs": np.zeros(4)}, 1, 1, "x") == {}


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.x.mlp.up_proj.weight", "",
     "a\nb", "model.layers.0.mlp.up_proj.weight\n", "layers.0.attention.wq.weight",
     "model.layers.0.weight", "model.layers.-1.mlp.up_proj.weight",
     "model.layers.٣.mlp.up_proj.weight"],
)  # fmt: skip
def test_what_is_not_llamas_is_refused_by_name(name):
    with pytest.raises(CheckpointError, match="is none of Llama's tensors"):
        hf_to_meta({name: np.zeros(2)}, 1, 1, "x")


@given(name=st.text())
def test_any_name_is_translated_or_not_known(name):
    for there, back in ((to_meta_name, to_hf_name), (to_hf_name, to_meta_name)):
        assert there(name) is None or back(there(name)) == name


@pytest.mark.parametrize("shape", [(), (6, 2), (2, 2)])
def test_rows_that_are_no_pairs_in_heads_are_refused(shape):
    with pytest.raises(CheckpointError, match="no pairs in 2 heads"):
        hf_to_meta({"model.layers.0.self_attn.q_proj.weight": np.zeros(shape)}, 2, 1, "x")
