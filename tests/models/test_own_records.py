"""tinyllm.models.own_records: experts and latent attention in files of our own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bad_configs import LLAMA
from tinyllm.errors import ConfigError
from tinyllm.models.config_json import read_config_json, write_config_json
from tinyllm.models.experts import Experts
from tinyllm.models.latent import Latent
from tinyllm.ops.routing import Routing

OWN = LLAMA | {
    "architectures": ["TinyllmForCausalLM"],
    "model_type": "tinyllm",
    "positions": "rope",
}
EXPERTS = {"n_experts": 6, "k": 2, "d_ff": 4}
LATENT = {"kv_rank": 5, "nope_dim": 3, "v_dim": 2}


def read(**changes):
    return read_config_json(OWN | changes, "config.json")


def test_what_a_file_does_not_say_of_experts_is_mixtral_s():
    routing = Routing(k=2, renormalise=True)
    assert read(experts=EXPERTS).experts == Experts(n_experts=6, d_ff=4, routing=routing)
    assert read().experts is read(experts=None).experts is None


def test_what_a_file_does_not_say_of_a_latent_is_the_simplest():
    assert read(latent=LATENT).latent == Latent(q_rank=None, kv_rank=5, nope_dim=3, v_dim=2)
    assert read().latent is read(latent=None).latent is None


records = st.fixed_dictionaries(
    {"n_experts": st.just(6), "k": st.integers(1, 2), "d_ff": st.integers(1, 9)},
    optional={
        "shared_d_ff": st.integers(0, 9), "first": st.integers(0, 2), "scale": st.floats(0.1, 20),
        "renormalise": st.booleans(), "groups": st.just(3), "capacity": st.floats(0.1, 2),
    },
)  # fmt: skip
latents = st.fixed_dictionaries(
    {"kv_rank": st.integers(1, 9), "nope_dim": st.integers(1, 9), "v_dim": st.integers(1, 9)},
    optional={"q_rank": st.integers(1, 9), "mscale": st.floats(0, 2)},
)


@given(records, latents, st.integers(1, 3))
def test_any_of_them_reads_back(experts, latent, kept):
    if "groups" in experts:
        experts = experts | {"groups_kept": kept}
    config = read(experts=experts, latent=latent)
    written = json.loads(json.dumps(write_config_json(config, "float32")))
    assert read_config_json(written, "config.json") == config
    assert written["experts"].items() >= experts.items()
    assert written["latent"].items() >= latent.items()


REFUSED = [
    ({"experts": []}, "experts is []; expected an object"),
    ({"experts": {}}, "experts: n_experts is missing"),
    ({"experts": EXPERTS | {"k": 7}}, "k is 7; expected a whole number from 1 to 6"),
    ({"experts": EXPERTS | {"groups": 4}}, "groups is 4; expected a divisor of 6 experts"),
    ({"experts": EXPERTS | {"groups": 3, "groups_kept": 4}}, "groups_kept is 4"),
    ({"experts": EXPERTS | {"groups": 6, "groups_kept": 1}}, "k is 2"),
    ({"experts": EXPERTS | {"first": 3}}, "first is 3"),
    ({"experts": EXPERTS | {"capacity": 0}}, "capacity is 0"),
    ({"experts": EXPERTS | {"jitter": 1}}, "does not know jitter = 1"),
    ({"latent": LATENT | {"kv_rank": 0}}, "kv_rank is 0"),
    ({"latent": LATENT | {"rope_dim": 4}}, "does not know rope_dim = 4"),
    ({"latent": LATENT, "positions": "alibi"}, "positions is 'alibi'; latent attention rotates"),
    ({"latent": LATENT, "qk_norm": True}, "qk_norm is True; latent attention has no such thing"),
    ({"latent": LATENT, "qkv_clip": 2.0}, "qkv_clip is 2.0; latent attention"),
]


@pytest.mark.parametrize(("changes", "says"), REFUSED)
def test_refused(changes, says):
    with pytest.raises(ConfigError) as error:
        read(**changes)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
