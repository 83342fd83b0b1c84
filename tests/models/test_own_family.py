"""tinyllm.models.own_family, and the positions of models in files of our own."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given

import tinyllm
from models.bad_configs import LLAMA
from tiny import POSITIONS, ROPES, configs, random_params, tiny_config
from tinyllm.errors import ConfigError, UsageError
from tinyllm.models.config_json import read_config_json, write_config_json
from tinyllm.models.positions import WITHOUT_NUMBERS, Alibi, FalconAlibi, Learned, Sinusoidal

OWN = LLAMA | {
    "architectures": ["TinyllmForCausalLM"],
    "model_type": "tinyllm",
    "positions": "alibi",
}


def read(**changes):
    values = {k: v for k, v in (OWN | changes).items() if v is not ...}
    return read_config_json(values, "config.json")


@given(configs)
def test_any_config_reads_back(config):
    config = dataclasses.replace(config, family="tinyllm")
    written = json.loads(json.dumps(write_config_json(config, "float32")))
    assert read_config_json(written, "config.json") == config


def test_what_a_file_does_not_say_is_that_of_a_plain_llama():
    config = read()
    assert config.positions == Alibi()
    assert config.windows == (None, None)
    assert config.embedding_scale == 1.0
    assert not any([config.qkv_bias, config.o_bias, config.mlp_bias, config.qk_norm])
    assert read(positions="rope", rope_theta=5.0).positions.theta == 5.0
    assert {read(positions=name).positions for name in WITHOUT_NUMBERS} == {
        Alibi(), FalconAlibi(), Learned(), Sinusoidal(), None,
    }  # fmt: skip


def test_heads_of_an_odd_width_need_no_rotation():
    assert read(head_dim=7).head_dim == 7


REFUSED = {
    "an odd width for RoPE": ({"positions": "rope", "head_dim": 7}, "head_dim is 7; RoPE turns"),
    "no positions": ({"positions": ...}, "positions is missing"),
    "unknown positions": ({"positions": "rotary"}, "positions is 'rotary'; tinyllm knows 'rope'"),
    "positions in a list": ({"positions": ["alibi"]}, "positions is"),
    "a base without RoPE": ({"rope_theta": 5e5}, "does not know rope_theta"),
    "a scaling without RoPE": (
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        "does not know rope_scaling",
    ),
    "windows for other layers": ({"windows": [None]}, "expected null or tokens for each of 2"),
    "a window of none": ({"windows": [None, 0]}, "windows is"),
    "a window in words": ({"windows": ["5", None]}, "windows is"),
    "a window that is true": ({"windows": [True, None]}, "windows is"),
    "a vast window": ({"windows": [2**31, None]}, "windows is"),
    "windows in words": ({"windows": "55"}, "windows is"),
    "a scale of nothing": ({"embedding_scale": 0}, "embedding_scale is 0"),
    "a scale that is not a number": ({"embedding_scale": float("nan")}, "embedding_scale is nan"),
    "a vast scale": ({"embedding_scale": 1e7}, "embedding_scale is 1"),
    "a bias in words": ({"qkv_bias": "yes"}, "qkv_bias is 'yes'"),
    "another family's word for it": ({"attention_bias": True}, "does not know attention_bias"),
    "another class": ({"architectures": ["LlamaForCausalLM"]}, "architectures"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    changes, says = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        read(**changes)
    assert says in str(error.value)
    assert str(error.value).startswith("config.json")
    assert "\n" not in str(error.value)


LOST = {
    "positions": {"positions": Alibi()},
    "no positions": {"positions": None},
    "embedding_scale": {"embedding_scale": 2.0},
    "qk_norm": {"qk_norm": True},
    "windows": {"windows": (3, None)},
    "qkv_bias": {"qkv_bias": True},
}


@pytest.mark.parametrize("case", LOST)
def test_a_file_of_a_llama_is_not_written_where_it_would_say_less(case):
    with pytest.raises(ConfigError, match=r"family 'llama' cannot hold .*" + case.split()[-1]):
        write_config_json(tiny_config(**LOST[case]), "float32")


@pytest.mark.parametrize("name", POSITIONS)
def test_a_saved_model_is_the_same_model(tmp_path, xp, name):
    config = tiny_config(
        family="tinyllm", positions=POSITIONS[name], windows=(None, 3), embedding_scale=1.5
    )
    params = {k: xp.asarray(p) for k, p in random_params(config, dtype=np.float32).items()}
    model = tinyllm.Model(config, params, xp=xp)
    model.save(tmp_path)
    again = tinyllm.load(tmp_path)
    assert again.config == config
    tokens = [[1, 2, 3, 4, 5, 6]]
    np.testing.assert_allclose(again.forward(tokens), xp.to_numpy(model.forward(tokens)), atol=1e-5)


@pytest.mark.parametrize("offset", [0, 2])
def test_a_learned_model_ends_with_its_table(offset):
    config = tiny_config(positions=Learned(offset=offset), max_seq_len=4)
    model = tinyllm.Model(config, random_params(config), xp=tinyllm.backend.get_backend("numpy"))
    assert len(model.generate([1, 2], max_tokens=2, temperature=0, ignore_eos=True).tokens) == 2
    with pytest.raises(UsageError, match="learned 4 positions, and the text has 5"):
        model.forward([[1, 2, 3, 4, 5]])
    with pytest.raises(UsageError, match="learned 4 positions"):
        model.generate([1, 2], max_tokens=4, context=100, temperature=0, ignore_eos=True)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["alibi", "rope"])
def test_transformers_takes_no_such_model_for_one_it_knows(tmp_path, name):
    transformers = pytest.importorskip("transformers")
    config = tiny_config(family="tinyllm", positions=POSITIONS.get(name, ROPES["default"]))
    xp = tinyllm.backend.get_backend("numpy")
    tinyllm.Model(config, random_params(config), xp=xp).save(tmp_path)
    with pytest.raises(ValueError, match="tinyllm"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
