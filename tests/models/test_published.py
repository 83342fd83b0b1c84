"""The config.json files of published models: each is understood, to the last parameter.

published.json holds them with the number of parameters that their authors' implementation has.
"""

import math

import pytest

from models.published import PUBLISHED, published_config
from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import architecture, understand
from tinyllm.models.stored import stored_plan, stored_shape

CLASSES = {
    "generate": "AutoModelForCausalLM", "fill-mask": "AutoModelForMaskedLM",
    "translate": "AutoModelForSeq2SeqLM",
}  # fmt: skip
LAYERS = ("num_hidden_layers", "n_layer", "n_layers")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_is_understood_to_the_last_parameter(name):
    config, published = published_config(name), PUBLISHED[name]
    kind = architecture(config)
    total = sum(map(math.prod, kind.param_shapes(config).values()))
    assert total == published["parameters"]
    assert total - kind.idle_parameters(config) == published.get("active", total)
    assert understand(KeyReader(kind.write_config(config, "bfloat16"), name)) == config


def test_what_the_configs_say_of_windows_and_heads():
    read = {name: published_config(name) for name in PUBLISHED}
    assert read["mistralai/Mistral-7B-v0.1"].windows == (4096,) * 32
    assert read["Qwen/Qwen3-0.6B"].head_dim == 128
    assert read["Qwen/Qwen2.5-0.5B"].head_dim == 64
    assert read["meta-llama/Llama-3.2-1B"].positions.factor == 32.0


@pytest.mark.parity
@pytest.mark.parametrize("name", PUBLISHED)
def test_transformers_gives_a_published_config_the_same_parameters(name):
    """By name and shape in files; experts, which it holds in one tensor, by their sum.

    Pythia's head has a name of its own in files only. T5's config forgets that its head may be its
    own, and its sides then have two embedding tables, which in files are one.
    """
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    values = {k: v for k, v in PUBLISHED[name]["config"].items() if k != "auto_map"}
    values |= {key: 3 for key in LAYERS if key in values}
    said = transformers.AutoConfig.for_model(**values)
    said.tie_word_embeddings = values.get("tie_word_embeddings", said.tie_word_embeddings)  # T5
    use = architecture(understand(KeyReader(values, name))).use
    with torch.device("meta"):
        model = getattr(transformers, CLASSES[use]).from_config(said)
        model.set_input_embeddings(model.get_input_embeddings())
    theirs = {key: tuple(parameter.shape) for key, parameter in model.named_parameters()}
    config = understand(KeyReader(values, name))
    kind = architecture(config)
    shapes = kind.param_shapes(config)
    ours = {
        key.replace("embed_out", "lm_head"): stored_shape(
            stored, [shapes[part] for part in stored.names]
        )
        for key, stored in stored_plan(list(shapes), kind.names(config)).items()
    }
    assert sum(map(math.prod, ours.values())) == sum(map(math.prod, theirs.values()))
    if not getattr(config, "experts", None):
        assert ours == theirs
