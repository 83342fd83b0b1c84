"""tinyllm.models.encoder: texts are read from both sides, padding by nobody; families' configs."""

import numpy as np
import pytest

from models.test_families import read
from shapes import checked
from tinyllm.errors import ConfigError, UsageError
from tinyllm.models.architecture import architecture, require_use
from tinyllm.models.cost import count_parameters
from tinyllm.models.encoder import (
    encoded,
    encoder_forward,
    masked_head_forward,
    pooled,
    text_positions_without_padding,
)
from tinyllm.models.examples import EXAMPLES, example_config, random_params
from tinyllm.models.weights import check_params, parameters_in, stored_tensors
from tinyllm.params import nest


@pytest.fixture(params=["bert", "roberta"])
def model(request):
    config = example_config(request.param)
    return config, random_params(config, np.random.default_rng(0))


def texts(xp, config, *rows):
    longest = max(map(len, rows))
    return xp.asarray(np.array([[*row, *[config.pad_id] * (longest - len(row))] for row in rows]))


def test_padding_changes_no_text(xp, model):
    config, params = model
    p = nest({name: xp.asarray(x) for name, x in params.items()})
    a, b = [2, 3, 4, 5, 6], [7, 8]
    both, _ = checked(encoder_forward)(xp, texts(xp, config, a, b), p, config)
    alone, _ = encoder_forward(xp, texts(xp, config, b), p, config)
    np.testing.assert_allclose(xp.to_numpy(both)[1, :2], xp.to_numpy(alone)[0], rtol=0, atol=1e-13)


def test_every_token_hears_of_every_other(model):
    config, params = model
    import tinyllm_numpy as xp

    p = nest(params)
    first, last = (encoder_forward(xp, np.array([t]), p, config)[0] for t in ([2, 3, 4], [2, 3, 5]))
    assert (np.abs(first - last)[0, :2].max(axis=-1) > 1e-6).all()


def test_vectors_of_texts_do_not_depend_on_their_company(xp):
    config = example_config("bert-untied")
    params = random_params(config, np.random.default_rng(0))
    p = nest({name: xp.asarray(x) for name, x in params.items()})
    both, alone = texts(xp, config, [2, 3, 4, 5], [7, 8]), texts(xp, config, [7, 8])
    for how in ("cls", "mean", "max", "pooler"):
        one, other = (
            xp.to_numpy(pooled(xp, encoded(xp, ids, p, config), ids, p, config, how))
            for ids in (both, alone)
        )
        np.testing.assert_allclose(one[1], other[0], rtol=0, atol=1e-13, err_msg=how)
    hidden = encoded(xp, alone, p, config)
    with pytest.raises(UsageError, match="no pooling 'median'"):
        pooled(xp, hidden, alone, p, config, "median")
    plain = example_config("bert")
    with pytest.raises(UsageError, match="has no pooler"):
        pooled(
            xp, hidden, alone, nest(random_params(plain, np.random.default_rng(0))), plain, "pooler"
        )


def test_positions_count_what_is_no_padding():
    tokens = np.array([[5, 6, 0, 0], [0, 5, 0, 6]])
    assert text_positions_without_padding(tokens, 0).tolist() == [[0, 1, -1, -1], [-1, 0, -1, 1]]
    assert text_positions_without_padding(tokens, None).tolist() == [0, 1, 2, 3]
    assert text_positions_without_padding(tokens, 9).tolist() == [0, 1, 2, 3]


def test_old_files_have_other_ends_and_what_nobody_needs():
    config = example_config("bert")
    params = random_params(config, np.random.default_rng(0))
    stored = stored_tensors(params, config)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): x
        for name, x in stored.items()
    }
    assert any(name.endswith("LayerNorm.gamma") for name in old)
    for extra in ("bert.pooler.dense.weight", "cls.seq_relationship.bias",
                  "bert.embeddings.position_ids", "cls.predictions.decoder.bias"):  # fmt: skip
        old[extra] = np.zeros(3)
    check_params(old, config, where="old")
    found = parameters_in(old, config)
    assert all(np.array_equal(found[name], x) for name, x in params.items())


@pytest.mark.parametrize(
    ("words", "head", "pooler"),
    [(None, True, False), ("ForMaskedLM", True, False), ("Model", False, True),
     ("ForPreTraining", True, True)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["Bert", "Roberta"])
def test_the_class_says_what_there_is(name, words, head, pooler):
    values = {"model_type": name.lower(), **EXAMPLES["bert"]}
    config = read(values if words is None else values | {"architectures": [name + words]})
    assert (config.masked_head, config.pooler) == (head, pooler)
    written = architecture(config).write_config(config, "float32")
    assert written["architectures"] == [name + (words or "ForMaskedLM")]
    assert read(written) == config


BAD = {
    "relative positions": ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    "a decoder": ({"is_decoder": True}, "is_decoder"),
    "another class": ({"architectures": ["BertForQuestionAnswering"]}, "architectures"),
    "another activation": ({"hidden_act": "silu"}, "hidden_act"),
    "padding that is no token": ({"pad_token_id": 11}, "pad_token_id"),
    "unknown keys": ({"rotary": True}, "rotary"),
}


@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=BAD.keys())
def test_what_is_not_understood_is_refused(change, says):
    with pytest.raises(ConfigError, match=says):
        read({"model_type": "bert", **EXAMPLES["bert"], **change})


def test_robertas_first_positions_are_for_padding():
    values = {"model_type": "roberta", **EXAMPLES["bert"]}
    for pad, first in ((None, 2), (0, 1), (3, 4)):  # None: it is 1 where a file does not say
        config = read(values | {"pad_token_id": pad})
        assert (config.max_seq_len, config.positions.offset) == (16 - first, first)
        with pytest.raises(ConfigError, match=f"expected more than {first}"):
            read(values | {"pad_token_id": pad, "max_position_embeddings": first})
    assert example_config("bert").positions.offset == 0


def test_berts_published_sizes():
    base = {
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522,
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512, "type_vocab_size": 2,
    }  # fmt: skip
    large = base | {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
        "intermediate_size": 4096,
    }  # fmt: skip
    assert count_parameters(read(base)) == 109_482_240
    assert count_parameters(read(large)) == 335_141_888


def test_an_encoder_is_for_masks():
    config = example_config("bert")
    require_use(config, "fill-mask")
    with pytest.raises(
        UsageError, match="a bert model is not for generate: python -m tinyllm fill-mask"
    ):
        require_use(config, "generate")
    with pytest.raises(UsageError, match="a recurrent model is not for fill-mask"):
        require_use(example_config("lstm"), "fill-mask")


def test_without_a_head_there_are_no_scores(xp):
    config = read({"model_type": "bert", **EXAMPLES["bert"], "architectures": ["BertModel"]})
    p = nest(random_params(config, np.random.default_rng(0)))
    with pytest.raises(UsageError, match="no head that scores"):
        masked_head_forward(xp, xp.zeros((1, 2, 6), dtype=xp.float64), p, config)
