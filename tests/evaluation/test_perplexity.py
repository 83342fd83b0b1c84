"""Perplexity: its laws, by hand, against transformers, and on a trained model."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm
from conftest import data
from evaluation.small_models import TEXT, TableModel, random_model, tokenizer
from strategies import rngs
from tinyllm.errors import UsageError
from tinyllm.evaluation import (
    Window,
    document_bits_per_byte,
    measure_perplexity,
    repeated_ngram_rate,
    score_windows,
)
from tinyllm.evaluation.perplexity import fingerprint

ALL = [
    {"protocol": "chunk", "context": 9},
    {"protocol": "stride", "context": 9, "stride": 4},
    {"protocol": "doc", "context": 9},
]


@pytest.mark.parametrize("options", ALL, ids=lambda options: options["protocol"])
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(options):
    found = measure_perplexity(TableModel(np.zeros((270, 270))), [TEXT], **options)
    assert found.ppl == pytest.approx(270, rel=1e-12)
    assert found.bits_per_byte == pytest.approx(
        math.log2(270) * found.tokens_scored / found.bytes_scored
    )


@pytest.mark.parametrize("options", ALL, ids=lambda options: options["protocol"])
@settings(max_examples=10)
@given(rngs)
def test_it_is_at_least_one_and_blind_to_a_constant_at_each_position(options, rng):
    table = rng.standard_normal((270, 270)) * 3
    found = measure_perplexity(TableModel(table), [TEXT], **options)
    assert found.ppl >= 1
    assert found.ppl == math.exp(found.nll)
    shifted = measure_perplexity(TableModel(table, shift=5.0), [TEXT], **options)
    assert shifted.nll == pytest.approx(found.nll, rel=1e-12)


@given(rngs, st.integers(2, 60))
def test_a_model_that_looks_back_at_nothing_needs_no_context(rng, context):
    model = TableModel(np.tile(rng.standard_normal(270), (270, 1)))
    whole = measure_perplexity(model, [TEXT], protocol="stride", context=64, stride=1)
    short = measure_perplexity(
        model, [TEXT], protocol="stride", context=context, stride=context // 2
    )
    assert short.nll == pytest.approx(whole.nll, rel=1e-12)
    assert short.tokens_scored == whole.tokens_scored


def test_a_model_that_is_sure_has_perplexity_one_and_a_surprised_one_infinity():
    ids = tokenizer().encode("the cat", bos=True)
    table = np.zeros((270, 270))
    for token, following in pairwise(ids):
        table[token, following] = 1e4
    assert measure_perplexity(TableModel(table), ["the cat"]).ppl == 1
    assert measure_perplexity(TableModel(-table), ["the cat"]).ppl == math.inf


def test_by_hand():
    model = random_model()
    documents = ["the cat", "", TEXT]
    nats, n_bytes, scored = 0.0, 0, 0
    for text in documents:
        ids = [0, *tokenizer().encode(text), 1][:20]
        logits = model.forward([ids[:-1]])[0]
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        nats -= log_probs[np.arange(len(ids) - 1), ids[1:]].sum()
        scored += len(ids) - 1
        n_bytes += sum(len(tokenizer().token_bytes(id_)) for id_ in ids)
    found = measure_perplexity(model, documents, protocol="doc", context=20)
    assert found.nll == pytest.approx(nats / scored, rel=1e-12)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-12)
    assert (found.tokens_scored, found.bytes_scored, found.documents) == (scored, n_bytes, 3)
    assert (found.bos, found.eos, found.stride, found.context) == (True, True, None, 20)
    assert document_bits_per_byte(model, documents, context=20) == found.bits_per_byte
    without = document_bits_per_byte(model, documents, context=20, eos=False)
    assert without != found.bits_per_byte


def test_bos_and_eos_are_as_asked_for():
    model = TableModel(np.zeros((270, 270)))
    n = len(tokenizer().encode("the cat"))

    def scored(model=model, **options):
        found = measure_perplexity(model, ["the cat"], **options)
        return found.bos, found.eos, found.tokens_scored

    assert scored() == (True, False, n)
    assert scored(bos=False) == (False, False, n - 1)
    assert scored(eos=True) == (True, True, n + 1)
    assert scored(protocol="doc") == (True, True, n + 1)
    assert scored(protocol="doc", bos=False, eos=False) == (False, False, n - 1)
    assert scored(TableModel(np.zeros((270, 270)), bos=None)) == (False, False, n - 1)
    assert scored(TableModel(np.zeros((270, 270)), bos=None), protocol="doc") == (
        False, True, n,
    )  # fmt: skip


def test_documents_are_one_text_but_in_the_protocol_of_documents():
    model = random_model()
    halves = [TEXT[:30], TEXT[30:]]
    assert measure_perplexity(model, halves) == measure_perplexity(model, [TEXT])
    assert measure_perplexity(model, halves, protocol="doc") != measure_perplexity(
        model, [TEXT], protocol="doc"
    )


def test_the_vocabulary_is_told_by_its_fingerprint(loaded_llama):
    assert fingerprint(tokenizer()) == fingerprint(tokenizer())
    assert fingerprint(tokenizer()).startswith("270 tokens, ")
    assert fingerprint(loaded_llama) != fingerprint(tokenizer())


BAD = {
    "no text": ([""], {"bos": False}, "fewer than two tokens"),
    "no documents": ([], {"protocol": "doc"}, "fewer than two tokens"),
    "one token": (["a"], {"bos": False}, "fewer than two tokens"),
    "BOS alone": ([""], {}, "fewer than two tokens"),
    "an unknown protocol": (["ab"], {"protocol": "slide"}, "called 'slide'; there are"),
    "a context of one": (["ab"], {"context": 1}, "context is 1, expected 2 to 64"),
    "a context beyond the model's": (["ab"], {"context": 65}, "context is 65, expected 2 to 64"),
    "a stride for chunks": (["ab"], {"stride": 3}, "stride is for the protocol 'stride'"),
    "no stride": (["ab"], {"protocol": "stride", "stride": 0}, "stride is 0, expected 1 to 64"),
    "a stride that leaves gaps": (
        ["ab"], {"protocol": "stride", "context": 8, "stride": 9}, "stride is 9, expected 1 to 8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_scored_is_refused(case):
    texts, options, says = BAD[case]
    with pytest.raises(UsageError) as caught:
        measure_perplexity(TableModel(np.zeros((270, 270))), texts, **options)
    assert says in str(caught.value)


def test_a_model_needs_a_tokenizer_and_bits_per_byte_a_byte():
    with pytest.raises(UsageError, match="no tokenizer"):
        measure_perplexity(random_model(tokens=False), ["ab"])
    model = TableModel(np.zeros((270, 270)))
    assert measure_perplexity(model, [""], protocol="doc").bits_per_byte is None
    with pytest.raises(UsageError, match="have no text"):
        document_bits_per_byte(model, [""], context=9)


@pytest.mark.parity
def test_the_loss_is_that_of_transformers(tmp_path):
    """Which takes norms and angles in float32, also in a model of float64: hence 1e-7."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = random_model(d_model=8)
    model.save(tmp_path)
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    ids = tokenizer().encode(TEXT, bos=True)
    blocks = torch.tensor([ids[i : i + 9] for i in range(0, len(ids) // 9 * 9, 9)])
    with torch.no_grad():
        losses = [other(block[None], labels=block[None]).loss.item() for block in blocks]
    found = measure_perplexity(model, [TEXT], context=9)
    assert found.nll == pytest.approx(np.mean(losses), rel=1e-7)


class TestStories:
    """A real trained Llama, on stories of the kind that it learned from."""

    @pytest.fixture
    def model(self):
        return tinyllm.load(data("models/stories260K"))

    @pytest.fixture
    def stories(self):
        text = data("corpora/tinystories/train-original-case-2MB.txt").read_text()
        stories = [part.strip() for part in text.split("<|endoftext|>") if part.strip()]
        return stories[-round(0.05 * len(stories)) :]

    def test_bits_per_byte_of_the_last_stories(self, model, stories):
        """All 116 give 0.9790; the last 12, which take a tenth of the time, 1.0406."""
        assert len(stories) == 116
        assert document_bits_per_byte(model, stories[-12:]) == pytest.approx(1.0406, abs=1e-4)

    def test_what_goes_round_in_circles_has_the_lower_perplexity(self, model):
        def judged(temperature, seed):
            options = {"temperature": temperature, "seed": seed, "top_p": 1.0, "ignore_eos": True}
            tokens = [1, *model.generate("", max_tokens=200, **options).tokens]
            (scores,) = score_windows(model, [Window(tokens=tokens, scored=len(tokens) - 1)])
            return math.exp(-scores.mean()), repeated_ngram_rate(tokens)

        greedy, repeated = judged(0.0, 0)
        for seed in range(2):
            sampled, less_repeated = judged(1.0, seed)
            assert greedy < sampled
            assert repeated > less_repeated
