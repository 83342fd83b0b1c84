"""Whole models against transformers: files both ways, logits, gradients, generation, sampling."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm
from conftest import data
from parity.families import CONFIGS, LENGTH, OF_LLAMAS_NAMES, as_transformers_4, random_tokens
from tinyllm.inference.sampling import Sampling, candidates, penalised_scores
from tinyllm.models.config_json import read_config_json
from tinyllm.models.weights import stored_tensors

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from parity.oracle import (  # noqa: E402
    build,
    generate64,
    greedy64,
    logits64,
    loss_and_grads64,
    no_complaints,
    random_model,
)

pytestmark = pytest.mark.parity
GROWING = [name for name in CONFIGS if "dynamic" not in name]  # those that a cache can serve
PADDED = (
    "gqa",
    "tied",
    "llama3",
    "yarn_betas",
    "mistral_window",
    "mistral_full",
    "qwen2_mixed",
    "qwen3",
    "opt",
    "bloom",
    "falcon_rw",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A model of the table, in a folder that transformers wrote."""

    name: str
    folder: Path
    oracle: Any
    tokens: Any
    logits: Any  # the oracle's, in float64 throughout


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=CONFIGS)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    oracle, tokens = random_model(request.param), random_tokens()
    oracle.save_pretrained(folder)
    return Case(
        name=request.param,
        folder=folder,
        oracle=oracle,
        tokens=tokens,
        logits=logits64(oracle, tokens),
    )


# Logits


def test_float64_logits_are_those_of_transformers(case):
    logits = tinyllm.load(case.folder, dtype="float64").forward(case.tokens)
    assert logits.dtype == np.float64
    assert_within(logits, case.logits, 1e-10)


def test_float32_logits_are_those_of_plain_transformers(case):
    oracle = load_plain(case.folder, torch.float32)
    with torch.no_grad():
        expected = oracle(torch.as_tensor(case.tokens)).logits.numpy()
    logits = tinyllm.load(case.folder).forward(case.tokens)
    assert logits.dtype == np.float32
    assert_within(logits, expected, 1e-4)


@pytest.mark.parametrize("case", OF_LLAMAS_NAMES, indirect=True)
@pytest.mark.parametrize("kind_key", ["type", "rope_type"])
def test_the_spelling_of_transformers_4_means_the_same(case, kind_key, tmp_path):
    model = tinyllm.load(case.folder, dtype="float64")
    config = as_transformers_4(json.loads((case.folder / "config.json").read_text()), kind_key)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(case.folder / "model.safetensors")
    old = tinyllm.load(tmp_path, dtype="float64")
    np.testing.assert_array_equal(old.forward(case.tokens), model.forward(case.tokens))
    with no_complaints():
        read = transformers.AutoConfig.from_pretrained(tmp_path)
    again = logits64(build(read, case.oracle.state_dict()), case.tokens)
    np.testing.assert_array_equal(again, case.logits)


@pytest.mark.parametrize("name", [name for name in CONFIGS if CONFIGS[name].get("head_dim") == 16])
def test_every_number_of_a_rope_scaling_moves_the_logits(name):
    """Otherwise the comparisons above could not see it misread."""
    rope = CONFIGS[name]["rope_parameters"]
    oracle, tokens = random_model(name), random_tokens()
    logits = logits64(oracle, tokens)
    keys = dict(CONFIGS[name])
    for key in rope.keys() - {"rope_type"}:
        value = not rope[key] if key == "truncate" else 2.0 * rope[key]
        changed = keys | {"rope_parameters": rope | {key: value}}
        config = transformers.AutoConfig.for_model(**changed)
        moved = np.abs(logits64(build(config, oracle.state_dict()), tokens) - logits).max()
        idle = name == "dynamic_within" and key == "factor"
        assert (moved == 0.0) if idle else (moved > 1e-4), key


@pytest.mark.parametrize("spelled", [{}, {"sliding_window": None}, {"sliding_window": 7}])
def test_a_window_missing_or_null_is_what_transformers_takes_it_to_be(spelled):
    """No text here is long enough to tell a window of 4096 from none."""
    config = dict(CONFIGS["mistral_full"])
    del config["sliding_window"]
    expected = transformers.AutoConfig.for_model(**config, **spelled).sliding_window
    assert read_config_json(config | spelled, "config.json").windows == (expected,) * 2


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["gqa", "tied", "biased"])
def test_16_bit_files_load_to_exactly_the_widened_weights(name, dtype, shards, tmp_path):
    oracle = random_model(name).to(getattr(torch, dtype))
    size = 2 * sum(parameter.numel() for parameter in oracle.parameters())
    oracle.save_pretrained(tmp_path, max_shard_size=math.ceil(size / shards))
    assert (tmp_path / "model.safetensors.index.json").exists() == (shards > 1)
    model = tinyllm.load(tmp_path)
    expected = {key: parameter.float() for key, parameter in oracle.named_parameters()}
    assert model.params.keys() == expected.keys()
    for key, parameter in model.params.items():
        assert parameter.dtype == np.float32
        np.testing.assert_array_equal(parameter, expected[key].detach().numpy(), err_msg=key)


# Training


def test_loss_and_all_gradients_are_those_of_autograd(case):
    rng = np.random.default_rng(1)
    targets = rng.integers(0, case.oracle.config.vocab_size, case.tokens.shape)
    targets[rng.random(targets.shape) < 0.3] = -100
    expected_loss, expected = loss_and_grads64(case.oracle, case.tokens, targets)
    model = tinyllm.load(case.folder, dtype="float64")
    loss, grads = model.loss_and_grads(case.tokens, targets)
    assert abs(loss - expected_loss) <= 1e-12
    assert grads.keys() == model.params.keys()
    stored = stored_tensors(grads, model.config)
    expected = {on_disk(key, model.config): grad for key, grad in expected.items()}
    assert stored.keys() == expected.keys()
    for key, grad in stored.items():
        error = np.linalg.norm(grad - expected[key])
        assert error <= 1e-9 * np.linalg.norm(expected[key]) + 1e-15, key  # a key's bias has none


def on_disk(name, config):
    """In memory transformers calls the head of a GPT-NeoX as everyone else's."""
    return "embed_out.weight" if (config.family, name) == ("gpt_neox", "lm_head.weight") else name


# Back to transformers


def test_a_saved_folder_is_read_by_transformers_without_complaint(case, tmp_path):
    tinyllm.load(case.folder, dtype="float64").save(tmp_path)
    with no_complaints():
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path, dtype=torch.float64, output_loading_info=True
        )
    assert not any(info.values()), info
    again = build(transformers.AutoConfig.from_pretrained(tmp_path), model.state_dict())
    assert type(again) is type(case.oracle)
    assert_within(logits64(again, case.tokens), case.logits, 1e-10)


# Generation


@pytest.mark.parametrize("penalty", [1.0, 3.0])  # 3 keeps a random model from repeating itself
@pytest.mark.parametrize("name", GROWING)
def test_greedy_tokens_are_those_of_transformers(name, penalty, tmp_path):
    oracle, prompt = random_model(name, std=0.5), random_tokens(1, 7)[0]
    oracle.save_pretrained(tmp_path)
    expected = greedy64(oracle, prompt, 40, repetition_penalty=penalty)
    assert penalty == 1.0 or len(set(expected)) > 2
    model = tinyllm.load(tmp_path, dtype="float64")
    options = {"temperature": 0.0, "max_tokens": 40, "repetition_penalty": penalty}
    assert model.generate(prompt, **options).tokens == expected
    assert model.generate(prompt, **options, use_cache=False).tokens == expected


def test_greedy_tokens_with_dynamic_scaling_are_those_of_transformers_without_a_cache(tmp_path):
    oracle, prompt = random_model("dynamic_beyond", std=0.5), random_tokens(1, 7)[0]
    oracle.save_pretrained(tmp_path)
    expected = greedy64(oracle, prompt, 40, use_cache=False, repetition_penalty=3.0)
    options = {"temperature": 0.0, "repetition_penalty": 3.0, "use_cache": False, "context": 64}
    model = tinyllm.load(tmp_path, dtype="float64")
    assert model.generate(prompt, max_tokens=40, **options).tokens == expected


@pytest.mark.parametrize("name", PADDED)
def test_a_padded_batch_gives_what_transformers_gives_one_by_one(name, tmp_path):
    oracle = random_model(name, std=0.5)
    oracle.save_pretrained(tmp_path)
    prompts = [random_tokens(1, length, seed=length)[0] for length in (9, 1, 6)]
    expected = [greedy64(oracle, prompt, 20, repetition_penalty=3.0) for prompt in prompts]
    model = tinyllm.load(tmp_path, dtype="float64")
    batch = model.generate_batch(prompts, temperature=0.0, max_tokens=20, repetition_penalty=3.0)
    assert [row.tokens for row in batch] == expected


# Sampling


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.6},
        {"top_k": 5},
        {"temperature": 1.4, "top_p": 0.6},
        {"temperature": 0.9, "min_p": 0.5},
        {"temperature": 0.4, "top_k": 13, "top_p": 0.8, "min_p": 0.3, "repetition_penalty": 1.7},
    ],
)
def test_the_steps_of_sampling_come_in_the_order_of_transformers(options):
    oracle, prompt = random_model("gqa"), random_tokens(1, LENGTH)[0]
    # Its own defaults are top_k 50, and no step at all for a number that turns it off.
    result = generate64(
        oracle,
        prompt,
        1,
        do_sample=True,
        output_scores=True,
        output_logits=True,
        **{"top_k": 0, **options},
    )
    logits, scores = result.logits[0][0].numpy(), result.scores[0][0]
    assert_same_distribution(logits, prompt, torch.softmax(scores, -1).numpy(), options)


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    vocab=st.integers(1, 60),
    spread=st.sampled_from([0.1, 1.0, 10.0]),
    temperature=st.sampled_from([0.1, 0.7, 1.0, 2.5]),
    top_k=st.integers(0, 70),
    top_p=st.floats(0.01, 1.0),
    min_p=st.floats(0.0, 1.0),
    repetition_penalty=st.sampled_from([0.5, 1.0, 1.3, 5.0]),
)
def test_sampling_keeps_the_tokens_and_probabilities_of_transformers(
    seed, vocab, spread, **options
):
    rng = np.random.default_rng(seed)
    logits, seen = spread * rng.standard_normal(vocab), rng.integers(0, vocab, 7)
    steps = transformers.LogitsProcessorList(processors(**options))
    scores = steps(torch.as_tensor(seen)[None], torch.as_tensor(logits)[None])
    assert_same_distribution(logits, seen, torch.softmax(scores[0], -1).numpy(), options)


def processors(*, temperature, top_k, top_p, min_p, repetition_penalty):
    """What transformers' generate would apply, in its order."""
    yield transformers.RepetitionPenaltyLogitsProcessor(repetition_penalty)
    yield transformers.TemperatureLogitsWarper(temperature)
    if top_k:
        yield transformers.TopKLogitsWarper(top_k)
    if top_p < 1.0:
        yield transformers.TopPLogitsWarper(top_p)
    if min_p > 0.0:
        yield transformers.MinPLogitsWarper(min_p)


def assert_same_distribution(logits, seen, expected, options):
    """tinyllm may draw the tokens of positive probability, each with that probability."""
    sampling = Sampling(**{"temperature": 1.0, "top_p": 1.0, **options})
    ids, probs = candidates(penalised_scores(logits, seen, sampling), sampling)
    found = np.zeros(len(logits))
    found[ids] = probs
    np.testing.assert_array_equal(np.flatnonzero(found), np.flatnonzero(expected))
    assert_within(found, expected, 1e-12)


# A real model


def test_logits_of_real_weights_are_those_of_transformers():
    folder = data("models/stories260K")
    model = tinyllm.load(folder, dtype="float64")
    tokens = np.array([model.tokenizer.encode(greedy_text(), bos=True)[:200]])
    assert tokens.shape == (1, 200)
    oracle = load_plain(folder, torch.float32)
    with torch.no_grad():
        plain = oracle(torch.as_tensor(tokens)).logits.numpy()
    assert_within(tinyllm.load(folder).forward(tokens), plain, 1e-4)
    exact = build(oracle.config, load_plain(folder, torch.float64).state_dict())
    assert_within(model.forward(tokens), logits64(exact, tokens), 1e-10)


def test_greedy_text_of_real_weights_is_the_published_one_and_that_of_transformers():
    folder = data("models/stories260K")
    model = tinyllm.load(folder, dtype="float64")
    exact = build(
        transformers.AutoConfig.from_pretrained(folder),
        load_plain(folder, torch.float64).state_dict(),
    )
    generation = model.generate("", temperature=0.0, max_tokens=200)
    assert generation.tokens == greedy64(exact, [model.tokenizer.bos_id], 200)
    assert generation.text == greedy_text()


def greedy_text():
    path = data("models/stories260K") / "expected_greedy_200steps.txt"
    return path.read_text(encoding="utf-8").removesuffix("\n")


def load_plain(folder, dtype):
    alibi = "alibi" in (folder / "config.json").read_text() and "falcon_rw" in folder.name
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="sdpa" if alibi else "eager"
    ).eval()


def assert_within(found, expected, bound):
    assert found.shape == expected.shape
    worst = np.abs(found - expected).max()
    assert worst <= bound, worst
