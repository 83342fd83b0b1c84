"""tinyllm.models.seq2seq: sources are read from both sides, targets from the left; configs."""

from dataclasses import replace

import numpy as np
import pytest

from tinyllm.errors import ConfigError, UsageError
from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import architecture, require_use, understand
from tinyllm.models.cost import count_parameters
from tinyllm.models.examples import EXAMPLES, example_config, random_params
from tinyllm.models.seq2seq import Pair, seq2seq_forward, shifted_right
from tinyllm.params import nest

FAMILIES = ("marian", "bart", "t5", "t5-v1.1")


def read(values):
    return understand(KeyReader(values, "config.json"))


@pytest.fixture(params=FAMILIES)
def model(request):
    config = example_config(request.param)
    return config, random_params(config, np.random.default_rng(0))


def scores(xp, params, config, source, target):
    p = nest({name: xp.asarray(x) for name, x in params.items()})
    pair = Pair(xp.asarray(np.array(source)), xp.asarray(np.array(target)))
    return xp.to_numpy(seq2seq_forward(xp, pair, p, config)[0])


def test_padding_changes_no_text(xp, model):
    config, params = model
    targets = [[2, 3, 4], [5, 6, 7]]
    pad = config.pad_id
    both = scores(xp, params, config, [[2, 3, 4, 5, 6], [7, 8, pad, pad, pad]], targets)
    alone = scores(xp, params, config, [[7, 8]], targets[1:])
    np.testing.assert_allclose(both[1], alone[0], rtol=0, atol=1e-12)


def test_a_target_hears_of_all_the_source_and_of_what_is_before_it(xp, model):
    config, params = model
    before = scores(xp, params, config, [[2, 3, 4]], [[2, 3, 4]])
    other_source = scores(xp, params, config, [[2, 3, 5]], [[2, 3, 4]])
    assert (np.abs(other_source - before).max(axis=-1) > 1e-9).all()
    other_target = scores(xp, params, config, [[2, 3, 4]], [[2, 3, 5]])
    same = np.abs(other_target - before).max(axis=-1)[0] <= 1e-13
    assert same.tolist() == [True, True, False]


def test_targets_are_shifted_to_the_right():
    config = example_config("bart")
    targets = np.array([[5, 6, 2], [7, 2, -100], [2, -100, -100]])
    expected = [[2, 5, 6], [2, 7, 2], [2, 2, 1]]
    assert shifted_right(targets, config).tolist() == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_written_reads_as_the_same(name):
    config = example_config(name)
    assert read(architecture(config).write_config(config, "float32")) == config


BAD = {
    "another class": ("bart", {"architectures": ["BartModel"]}, "architectures"),
    "norms before": ("bart", {"normalize_before": True}, "normalize_before"),
    "two tables": ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder"),
    "two vocabularies": ("marian", {"decoder_vocab_size": 12}, "decoder_vocab_size"),
    "heads that do not fit": ("bart", {"encoder_attention_heads": 4}, "a divisor of d_model, 6"),
    "another activation": ("t5", {"feed_forward_proj": "gated-silu"}, "feed_forward_proj"),
    "activations that differ": ("t5", {"dense_act_fn": "silu"}, "dense_act_fn"),
    "padding that is no token": ("t5", {"pad_token_id": 11}, "pad_token_id"),
    "unknown keys": ("t5", {"rotary": True}, "rotary"),
}


@pytest.mark.parametrize(("name", "change", "says"), BAD.values(), ids=BAD.keys())
def test_what_is_not_understood_is_refused(name, change, says):
    with pytest.raises(ConfigError, match=says):
        read({"model_type": name, **EXAMPLES[name], **change})


def bart(D, layers, heads, d_ff):
    return {
        "model_type": "bart", "vocab_size": 50265, "d_model": D, "encoder_layers": layers,
        "decoder_layers": layers, "encoder_attention_heads": heads,
        "decoder_attention_heads": heads, "encoder_ffn_dim": d_ff, "decoder_ffn_dim": d_ff,
        "max_position_embeddings": 1024,
    }  # fmt: skip


def t5(D, layers, heads, d_ff):
    return {
        "model_type": "t5", "vocab_size": 32128, "d_model": D, "num_layers": layers,
        "num_heads": heads, "d_kv": 64, "d_ff": d_ff,
    }  # fmt: skip


def original(D, heads, d_ff):
    return bart(D, 6, heads, d_ff) | {"model_type": "marian", "vocab_size": 37000}


PUBLISHED = {
    "t5-small": (t5(512, 6, 8, 2048), 60_506_624),
    "t5-base": (t5(768, 12, 12, 3072), 222_903_552),
    "bart-base": (bart(768, 6, 12, 3072), 139_420_416),
    "bart-large": (bart(1024, 12, 16, 4096), 406_291_456),
    "Transformer base": (original(512, 8, 2048), 63_082_496),
    "Transformer big": (original(1024, 16, 4096), 214_245_376),
}


@pytest.mark.parametrize(("values", "count"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_sizes(values, count):
    config = read(values)
    constant = config.vocab_size if config.logits_bias else 0  # a buffer of the authors' code
    assert count_parameters(config) - constant == count


def test_what_files_of_published_translators_say():
    """The keys and values of Helsinki-NLP/opus-mt-en-de."""
    values = {
        "_num_labels": 3, "activation_dropout": 0.0, "activation_function": "swish",
        "add_bias_logits": False, "add_final_layer_norm": False,
        "architectures": ["MarianMTModel"], "bad_words_ids": [[58100]], "bos_token_id": 0,
        "classif_dropout": 0.0, "d_model": 512, "decoder_attention_heads": 8,
        "decoder_ffn_dim": 2048, "decoder_layers": 6, "decoder_start_token_id": 58100,
        "decoder_vocab_size": 58101, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048,
        "encoder_layers": 6, "eos_token_id": 0, "extra_pos_embeddings": 58101,
        "forced_eos_token_id": 0, "is_encoder_decoder": True, "max_length": 512,
        "max_position_embeddings": 512, "model_type": "marian", "normalize_before": False,
        "normalize_embedding": False, "num_beams": 6, "num_hidden_layers": 6,
        "pad_token_id": 58100, "scale_embedding": True, "share_encoder_decoder_embeddings": True,
        "static_position_embeddings": True, "vocab_size": 58101,
    }  # fmt: skip
    config = understand(KeyReader(values, "config.json"))
    assert (config.decoder.mlp, config.pad_id, config.start_id) == ("silu", 58100, 58100)
    table, D, F = 58101 * 512, 512, 2048
    attention, mlp, norm = 4 * D * (D + 1), 2 * D * F + D + F, 2 * D
    layers = 6 * (attention + mlp + 2 * norm) + 6 * (2 * attention + mlp + 3 * norm)
    assert count_parameters(config) == table + 58101 + layers


def test_an_encoder_decoder_is_for_translation():
    config = example_config("t5")
    require_use(config, "translate")
    with pytest.raises(UsageError, match="a t5 model is not for generate: python -m tinyllm trans"):
        require_use(config, "generate")


def test_t5_divides_no_score():
    import tinyllm_numpy as xp

    config = example_config("t5")
    params = random_params(config, np.random.default_rng(0))
    sides = {
        side: replace(getattr(config, side), attention_scale=None)
        for side in ("encoder", "decoder")
    }
    root = config.decoder.head_dim**0.5
    longer = {k: x * root if k.endswith("q_proj.weight") else x for k, x in params.items()}
    texts = [[2, 3, 4]], [[2, 5]]
    expected = scores(xp, params, config, *texts)
    found = scores(xp, longer, replace(config, **sides), *texts)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
