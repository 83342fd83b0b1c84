"""The config.json files of published models: each is understood, to the last parameter.

published.json holds them with the number of parameters that their authors' implementation has.
"""

import json
import math
from pathlib import Path

import pytest

from tinyllm.models.config import param_shapes
from tinyllm.models.config_json import read_config_json, write_config_json

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_is_understood_to_the_last_parameter(name):
    config = read_config_json(PUBLISHED[name]["config"], name)
    shapes = param_shapes(config)
    assert sum(map(math.prod, shapes.values())) == PUBLISHED[name]["parameters"]
    assert read_config_json(write_config_json(config, "bfloat16"), name) == config


def test_what_the_configs_say_of_windows_and_heads():
    read = {name: read_config_json(entry["config"], name) for name, entry in PUBLISHED.items()}
    assert read["mistralai/Mistral-7B-v0.1"].windows == (4096,) * 32
    windows = {name: set(config.windows) for name, config in read.items()}
    assert [name for name in windows if windows[name] != {None}] == ["mistralai/Mistral-7B-v0.1"]
    assert read["Qwen/Qwen3-0.6B"].head_dim == 128
    assert read["Qwen/Qwen2.5-0.5B"].head_dim == 64
    assert read["meta-llama/Llama-3.2-1B"].positions.factor == 32.0


@pytest.mark.parity
@pytest.mark.parametrize("name", PUBLISHED)
def test_transformers_gives_a_published_config_the_same_parameters(name):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(
        **PUBLISHED[name]["config"] | {"num_hidden_layers": 3}
    )
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    theirs = {key: tuple(parameter.shape) for key, parameter in model.named_parameters()}
    changed = read_config_json(PUBLISHED[name]["config"] | {"num_hidden_layers": 3}, name)
    assert param_shapes(changed) == theirs
