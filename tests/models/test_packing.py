"""tinyllm.models.packing: packed parameters give the same scores."""

import numpy as np
import pytest
from hypothesis import given

from tiny import configs, random_params, tiny_config, tree_of
from tinyllm.layers.projection import Joined
from tinyllm.models.decoder import logits_forward
from tinyllm.models.packing import pack_params
from tinyllm.models.stack import hidden_states


@given(configs)
def test_packed_and_plain_agree(xp, config):
    p, tokens = tree_of(xp, random_params(config)), xp.asarray(np.array([[1, 2, 3], [4, 5, 0]]))
    expected, got = (
        xp.to_numpy(logits_forward(xp, hidden_states(xp, tokens, tree, config), tree, config)[0])
        for tree in (p, pack_params(xp, p))
    )
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_projections_of_the_same_rows_become_one_and_the_tree_is_left_alone(xp):
    p = tree_of(xp, random_params(tiny_config()))
    attention = pack_params(xp, p)["model"]["layers"]["0"]["self_attn"]
    if xp.pack([xp.zeros((2, 3), dtype=xp.float64)] * 2) is None:
        pytest.skip("this backend leaves matrices apart")
    assert isinstance(attention["q_proj+k_proj+v_proj"], Joined)
    assert "q_proj" not in attention
    assert "q_proj" in p["model"]["layers"]["0"]["self_attn"]


def test_projections_of_which_some_have_a_bias_stay_apart(xp):
    p = tree_of(xp, random_params(tiny_config(qkv_bias=True)))
    for layer in p["model"]["layers"].values():
        del layer["self_attn"]["k_proj"]["bias"]
    assert "q_proj" in pack_params(xp, p)["model"]["layers"]["0"]["self_attn"]
