"""tinyllm.models.recurrent, its config, files and facts"""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm
import tinyllm_numpy as numpy_backend
from shapes import checked
from strategies import check_pair, rngs
from tiny import tree_of
from tiny_recurrent import random_recurrent_params, recurrent_configs, tiny_recurrent
from tinyllm.checkpoints import write_checkpoint
from tinyllm.description import describe
from tinyllm.errors import CheckpointError, ConfigError, UsageError
from tinyllm.inference.session import Session, UncachedSession
from tinyllm.key_reader import KeyReader
from tinyllm.model import Model
from tinyllm.models.architecture import architecture, understand
from tinyllm.models.cost import cache_bytes, count_parameters
from tinyllm.models.recurrent import (
    final_state,
    first_state,
    hidden_and_state,
    recurrent_hidden_states,
    recurrent_lm_backward,
    recurrent_lm_forward,
)
from tinyllm.models.recurrent_config import CELLS, recurrent_shapes, write_recurrent_config
from tinyllm.models.recurrent_facts import (
    pack_recurrent,
    recurrent_flops,
    recurrent_trace_names,
    recurrent_traced,
)
from tinyllm.models.recurrent_init import init_recurrent_params
from tinyllm.ops.dropout import Dropout

TOKENS = np.arange(8).reshape(2, 4)


def model_of(config=None, **changes):
    config = config or tiny_recurrent(**changes)
    return Model(config, random_recurrent_params(config), xp=numpy_backend)


@settings(max_examples=10)
@given(recurrent_configs.filter(lambda c: c.family != "rnn_relu"), st.integers(1, 4), rngs)
def test_the_gradient_of_every_parameter(xp, config, T, rng):
    """With dropout, whose masks are the same where the generator is."""
    tokens, names = rng.integers(0, config.vocab_size, (2, T)), list(recurrent_shapes(config))
    seed = int(rng.integers(100))
    weights = random_recurrent_params(config, seed).values()

    def forward(xp, *weights):
        dropout = Dropout(rate=0.3, rng=np.random.default_rng(seed)) if seed % 2 else None
        p = tree_of(xp, dict(zip(names, weights)))
        return recurrent_lm_forward(xp, xp.asarray(tokens), p, config, dropout=dropout)

    def backward(xp, dy, saved):
        dtokens, grads = recurrent_lm_backward(xp, dy, saved)
        assert dtokens is None
        assert list(grads) == names
        return tuple(grads.values())

    forward.__doc__ = "tokens (B, T) -> logits (B, T, V)"
    check_pair(xp, forward, backward, *weights, rng=rng, tolerance=1e-6)


def test_shape_lines(xp):
    config = tiny_recurrent()
    p = tree_of(xp, random_recurrent_params(config))
    tokens = xp.asarray(TOKENS)
    checked(recurrent_lm_forward)(xp, tokens, p, config)
    hidden = recurrent_hidden_states(xp, tokens, p, config)
    assert hidden.shape == (2, 4, 5)


@settings(max_examples=10)
@given(recurrent_configs, st.integers(2, 6), rngs)
def test_a_text_in_pieces_is_the_text_whole(xp, config, T, rng):
    """And so is what is kept without saving anything, and the state that is handed on."""
    tokens, cut = rng.integers(0, config.vocab_size, (2, T)), int(rng.integers(1, T))
    p = tree_of(xp, random_recurrent_params(config))
    whole, _ = recurrent_lm_forward(xp, xp.asarray(tokens), p, config)
    first, saved = recurrent_lm_forward(xp, xp.asarray(tokens[:, :cut]), p, config)
    state = final_state(saved)
    second, _ = recurrent_lm_forward(xp, xp.asarray(tokens[:, cut:]), p, config, state=state)
    pieces = np.concatenate([xp.to_numpy(first), xp.to_numpy(second)], axis=1)
    scale = max(1.0, np.abs(pieces).max())
    assert np.abs(pieces - xp.to_numpy(whole)).max() <= 1e-12 * scale
    before = first_state(xp, p, config, batch=2)
    _, after = hidden_and_state(xp, xp.asarray(tokens[:, :cut]), p, config, before)
    for a, b in zip(after, state, strict=True):
        np.testing.assert_allclose(xp.to_numpy(a), xp.to_numpy(b), atol=1e-12 * scale)


def test_truncation_leaves_the_gradient_of_the_last_piece():
    """The gradient of a piece that begins from a state takes that state for given."""
    config = tiny_recurrent("rnn", n_layers=1, d_embed=2, d_model=2, vocab_size=3)
    params, xp = random_recurrent_params(config), numpy_backend
    state = [np.array([[0.3, -0.2]])]

    def loss(name, step):
        moved = params | {name: params[name] + step}
        return recurrent_lm_forward(xp, np.array([[1, 2]]), tree_of(xp, moved), config, None, state)

    _, saved = loss("model.rnn.weight_hh_l0", 0.0)
    _, grads = recurrent_lm_backward(xp, np.ones((1, 2, 3)), saved)
    for name, grad in grads.items():
        step = 1e-6 * np.ones(grad.shape)
        numeric = (loss(name, step)[0].sum() - loss(name, -step)[0].sum()) / 2e-6
        assert grad.sum() == pytest.approx(numeric, rel=1e-6, abs=1e-8), name


@pytest.mark.parametrize("family", CELLS)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=3), st.integers(1, 3), rngs)
@settings(max_examples=5)
def test_a_padded_batch_equals_its_rows_one_by_one(xp, family, lengths, steps, rng):
    config = tiny_recurrent(family)
    p = tree_of(xp, random_recurrent_params(config))
    prompts = [rng.integers(0, config.vocab_size, n).tolist() for n in lengths]
    batch = Session(xp, pack_recurrent(xp, p), config, prompts, max_tokens=steps)
    uncached = UncachedSession(xp, p, config, prompts)
    scores = [(batch.prefill(), uncached.prefill())]
    for tokens in rng.integers(0, config.vocab_size, (steps, len(prompts))).tolist():
        scores.append((batch.step(tokens), uncached.step(tokens)))
    for got, wanted in scores:
        assert np.abs(got - wanted).max() <= 1e-12 * max(1.0, np.abs(wanted).max())


def test_a_long_text_is_read_in_chunks(monkeypatch):
    model, tokens = model_of(), np.arange(22).reshape(2, 11) % 11
    whole = model.forward(tokens)
    monkeypatch.setattr("tinyllm.inference.reader.CHUNK", 3)
    np.testing.assert_allclose(model.forward(tokens), whole, atol=1e-14)


def test_a_state_is_resumed_whole_or_not_at_all():
    model = model_of()
    sessions = [
        Session(numpy_backend, model._tree(), model.config, [prompt], max_tokens=9)
        for prompt in ([1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 4])
    ]
    expected = [session.prefill() for session in sessions]
    for prompt, kept, wanted in (([1, 2, 3, 4, 5], 3, expected[1]), ([1, 2, 4], 0, expected[2])):
        later = Session(numpy_backend, model._tree(), model.config, [prompt], max_tokens=9)
        common = 3 if kept else 2
        assert later.resume(sessions[0], common) == kept
        np.testing.assert_allclose(later.prefill(), wanted, atol=1e-14)


def test_a_model_is_saved_loaded_described_and_continues_texts(tmp_path):
    for family in CELLS:
        model = model_of(family=family, eos_ids=(3,), bos_id=1)
        model.save(tmp_path / family)
        again = tinyllm.load(tmp_path / family, dtype="float64")
        assert again.config == model.config
        np.testing.assert_array_equal(again.forward(TOKENS), model.forward(TOKENS))
        options = {"max_tokens": 6, "seed": 1, "ignore_eos": True}
        assert (
            again.generate([1, 2], **options).tokens
            == model.generate([1, 2], use_cache=False, **options).tokens
        )
        found = json.loads(json.dumps(describe(tmp_path / family)))
        assert found["problems"] == []
        assert found["parameters"] == sum(p.size for p in model.params.values())
        assert found["config"]["d_embed"] == 4
        assert found["kv_bytes"]["float32"]["token"] == found["kv_bytes"]["float32"]["context"]


def test_matrices_in_16_bits(tmp_path):
    model_of(d_model=8).save(tmp_path)
    wide, narrow = tinyllm.load(tmp_path), tinyllm.load(tmp_path, storage="bfloat16")
    assert narrow.params["model.rnn.weight_hh_l1"].dtype == "bfloat16"
    assert narrow.params["model.rnn.bias_hh_l1"].dtype == "float32"
    scores = narrow.forward(TOKENS)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wide.forward(TOKENS), atol=0.2)
    options = {"temperature": 0, "max_tokens": 4}
    uncached = narrow.generate([1], use_cache=False, **options).tokens
    assert narrow.generate([1], **options).tokens == uncached


def test_a_tied_head_is_the_table(tmp_path):
    config = tiny_recurrent(d_embed=5, tie_embeddings=True)
    assert "lm_head.weight" not in recurrent_shapes(config)
    model = model_of(config)
    model.save(tmp_path)
    np.testing.assert_array_equal(
        tinyllm.load(tmp_path, dtype="float64").forward(TOKENS), model.forward(TOKENS)
    )
    with pytest.raises(ConfigError, match="layers put out 5 features, and embeddings have 4"):
        tiny_recurrent(tie_embeddings=True)


def test_files_that_do_not_fit_are_refused(tmp_path):
    config = tiny_recurrent()
    params = random_recurrent_params(config, dtype=np.float32)
    values = write_recurrent_config(config, "float32")
    write_checkpoint(tmp_path, values | {"num_hidden_layers": 3}, params)
    with pytest.raises(CheckpointError, match="weight_ih_l2"):
        tinyllm.load(tmp_path)
    write_checkpoint(tmp_path, values | {"model_type": "gru"}, params)
    with pytest.raises(CheckpointError, match=r"shape \(20, 4\), expected \(15, 4\)"):
        tinyllm.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "elman"}, "model_type is 'elman'; tinyllm knows 'llama'.*'lstm'"),
        ({"architectures": ["LSTM"]}, "architectures is .*; expected"),
        ({"hidden_size": 0}, "hidden_size is 0; expected a whole number from 1"),
        ({"hidden_size": 2**25}, "hidden_size is 33554432"),
        ({"embedding_size": None}, "embedding_size is missing"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000"),
        ({"vocab_size": True}, "vocab_size is True"),
        ({"tie_word_embeddings": True}, "here: the head cannot be the embedding table"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1"),
        ({"eos_token_id": 11}, "eos_token_id is 11"),
        ({"bos_token_id": -1}, "bos_token_id is -1"),
        ({"bidirectional": True}, "does not know bidirectional = True"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"auto_map": {"x": "y"}}, "code of its own"),
    ],
)
def test_bad_configs_are_refused_in_one_line(change, says):
    values = write_recurrent_config(tiny_recurrent(), "float32") | change
    with pytest.raises(ConfigError, match=says) as caught:
        understand(KeyReader(values, "here"))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("here: ")


def test_a_config_survives_its_file():
    for family in CELLS:
        config = tiny_recurrent(family, eos_ids=(2, 3), bos_id=0)
        written = json.loads(json.dumps(write_recurrent_config(config, "float32")))
        assert understand(KeyReader(written, "here")) == config


def test_every_activation_has_its_name_and_shape(xp):
    config = tiny_recurrent("lstm")
    p = tree_of(xp, random_recurrent_params(config))
    logits, saved = recurrent_lm_forward(xp, xp.asarray(TOKENS), p, config)
    seen = recurrent_traced(xp, saved, recurrent_trace_names(2))
    seen = {name: xp.to_numpy(x) for name, x in seen.items()}
    assert {name: x.shape for name, x in seen.items()} == {
        "embed_tokens": (2, 4, 4),
        "layers.0.gates": (2, 4, 20), "layers.0.state": (2, 4, 10), "layers.0": (2, 4, 5),
        "layers.1.gates": (2, 4, 20), "layers.1.state": (2, 4, 10), "layers.1": (2, 4, 5),
    }  # fmt: skip
    table = xp.to_numpy(p["model"]["embed_tokens"]["weight"])
    np.testing.assert_array_equal(seen["embed_tokens"], table[TOKENS])
    i, f, g, o = np.split(seen["layers.1.gates"], 4, axis=-1)
    c = seen["layers.1.state"][..., 5:]
    np.testing.assert_allclose(c[:, 1:], f[:, 1:] * c[:, :-1] + (i * g)[:, 1:], atol=1e-15)
    np.testing.assert_allclose(seen["layers.1"], o * np.tanh(c), atol=1e-15)
    head = xp.to_numpy(p["lm_head"]["weight"])
    np.testing.assert_allclose(seen["layers.1"] @ head.T, xp.to_numpy(logits), atol=1e-14)
    with pytest.raises(UsageError, match=r"'layers.0.gate'; did you mean 'layers.0.gates'"):
        recurrent_traced(xp, saved, ["layers.0.gate"])


def test_what_a_model_costs():
    config = tiny_recurrent("lstm")  # E 4, D 5, V 11
    weights = 20 * (4 + 5) + 20 * (5 + 5)
    assert count_parameters(config) == 11 * 4 + weights + 4 * 20 + 11 * 5
    assert recurrent_flops(config) == (2 * (weights + 11 * 5), 0)
    tied = tiny_recurrent("lstm", d_embed=5, tie_embeddings=True)
    assert recurrent_flops(tied) == (2 * (40 * 10 + 11 * 5), 0)
    assert cache_bytes(config, 1, "float32") == cache_bytes(config, 10**6, "float32") == 2 * 10 * 4
    rnn = tiny_recurrent("rnn")
    shapes = recurrent_shapes(config), recurrent_shapes(rnn)
    sizes = [sum(np.prod(s) for n, s in of.items() if ".rnn." in n) for of in shapes]
    assert sizes[0] == 4 * sizes[1]


def test_fresh_parameters_are_pytorch_s_but_for_the_forget_gate():
    config = tiny_recurrent("lstm", d_model=64, d_embed=32, vocab_size=100)
    params = init_recurrent_params(config, np.random.default_rng(0))
    assert {name: p.shape for name, p in params.items()} == recurrent_shapes(config)
    assert all(p.dtype == np.float32 for p in params.values())
    weights = params["model.rnn.weight_hh_l0"]
    assert 0.12 < np.abs(weights).max() <= 0.125
    assert abs(weights.mean()) < 0.005
    bias = params["model.rnn.bias_ih_l1"]
    assert bias[64:128].min() >= 0.875
    assert np.abs(np.delete(bias, np.s_[64:128])).max() <= 0.125
    assert np.abs(params["model.rnn.bias_hh_l1"]).max() <= 0.125
    gru = init_recurrent_params(tiny_recurrent("gru"), np.random.default_rng(0), np.float64)
    assert np.abs(gru["model.rnn.bias_ih_l0"]).max() <= 5**-0.5
    assert gru["lm_head.weight"].dtype == np.float64


def test_every_kind_of_model_has_the_same_functions():
    kind = architecture(tiny_recurrent())
    assert kind.scores_stay(tiny_recurrent())
    assert set(kind.model_types) == set(CELLS)
