"""tinyllm.inference.beam"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.errors import TinyllmError, UsageError
from tinyllm.inference.beam import beam_search, length_penalty

alphas = st.sampled_from([0.0, 0.6, 1.5])


class Prefixes:
    """A model whose scores are drawn anew for every text, and whose state is the rows' texts."""

    def __init__(self, V, seed, levels=None):
        self.V, self.seed, self.levels, self.rows, self.calls = V, seed, levels, [()], 0

    def logits(self, text):
        rng = np.random.default_rng([self.seed, *text])
        drawn = (
            rng.standard_normal(self.V)
            if self.levels is None
            else rng.integers(0, self.levels, self.V)
        )
        return 2.0 * drawn

    def step(self, parents, tokens):
        self.calls += 1
        self.rows = [(*self.rows[p], int(t)) for p, t in zip(parents, tokens, strict=True)]
        return np.stack([self.logits(text) for text in self.rows])

    def search(self, **options):
        return beam_search(self.logits(()), self.step, **options)

    def log_prob(self, text):
        """The sum over the tokens of a text, one by one."""
        total = 0.0
        for n, token in enumerate(text):
            logits = self.logits(text[:n])
            total += logits[token] - math.log(np.exp(logits).sum())
        return total


def all_texts(V, max_tokens, stop_tokens):
    """Every text that ends with a stop token, or is as long as a text may be."""
    for n in range(1, max_tokens + 1):
        for text in itertools.product(range(V), repeat=n):
            if not set(text[:-1]) & set(stop_tokens) and (
                n == max_tokens or text[-1] in stop_tokens
            ):
                yield text


models = st.builds(Prefixes, st.integers(2, 4), st.integers(0, 10**6))
coarse = st.builds(Prefixes, st.integers(2, 4), st.integers(0, 10**6), levels=st.integers(1, 2))
stops = st.sampled_from([(), (0,), (1,), (0, 1)])


@given(models, st.integers(1, 4), stops, alphas)
def test_as_many_beams_as_texts_find_the_best_of_all_texts(model, max_tokens, stop_tokens, alpha):
    options = {"max_tokens": max_tokens, "stop_tokens": stop_tokens, "alpha": alpha}
    found = model.search(beams=model.V**max_tokens, **options)
    texts = list(all_texts(model.V, max_tokens, stop_tokens))
    scores = {text: model.log_prob(text) / length_penalty(len(text), alpha) for text in texts}
    ranked = sorted(texts, key=lambda text: -scores[text])
    assert [hypothesis.tokens for hypothesis in found] == ranked
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(scores[hypothesis.tokens], abs=1e-12)
        assert hypothesis.logprob == pytest.approx(model.log_prob(hypothesis.tokens), abs=1e-12)
        assert hypothesis.ended == (hypothesis.tokens[-1] in stop_tokens)


@given(models | coarse, st.integers(1, 6), stops, alphas)
def test_one_beam_is_greedy_decoding(model, max_tokens, stop_tokens, alpha):
    text = ()
    while len(text) < max_tokens and not set(text) & set(stop_tokens):
        text += (int(np.argmax(model.logits(text))),)
    options = {"max_tokens": max_tokens, "stop_tokens": stop_tokens, "alpha": alpha}
    (found,) = model.search(beams=1, **options)
    assert found.tokens == text
    assert model.calls == len(text) - 1


@given(models | coarse, st.integers(1, 4), st.integers(2, 5), stops, alphas)
def test_what_is_found_are_different_texts_in_order_of_their_scores(
    model, max_tokens, beams, stop_tokens, alpha
):
    options = {"max_tokens": max_tokens, "stop_tokens": stop_tokens, "alpha": alpha}
    found = model.search(beams=beams, **options)
    scores = [hypothesis.score for hypothesis in found]
    assert 1 <= len(found) <= beams
    assert scores == sorted(scores, reverse=True)
    texts = [hypothesis.tokens for hypothesis in found]
    assert len(set(texts)) == len(texts)
    for hypothesis in found:
        assert not set(hypothesis.tokens[:-1]) & set(stop_tokens)
        assert hypothesis.ended == (hypothesis.tokens[-1] in stop_tokens)
        assert hypothesis.ended or len(hypothesis.tokens) == max_tokens
        assert hypothesis.logprob == pytest.approx(model.log_prob(hypothesis.tokens), abs=1e-12)


@given(models, st.integers(1, 2), st.integers(1, 6))
def test_two_tokens_of_a_wider_search_are_no_less_likely(model, max_tokens, beams):
    """Deeper down a beginning that is likelier can end worse: then greedy decoding may win."""
    greedy = model.search(beams=1, max_tokens=max_tokens)
    wider = Prefixes(model.V, model.seed).search(beams=beams, max_tokens=max_tokens)
    assert wider[0].logprob >= greedy[0].logprob
    assert len(wider) == min(beams, model.V**max_tokens)


def test_of_equals_the_earlier_beam_and_the_lower_token_go_first():
    found = Prefixes(3, 0, levels=1).search(beams=4, max_tokens=2)
    assert [hypothesis.tokens for hypothesis in found] == [(0, 0), (0, 1), (0, 2), (1, 0)]


def scripted(table):
    """A model of two letters, told for each text with what probability the end, 0, comes next."""
    rows = [()]

    def row(text):
        p = table[text]
        return np.log([p, 1 - p])

    def step(parents, tokens):
        rows[:] = [(*rows[i], int(t)) for i, t in zip(parents, tokens, strict=True)]
        return np.stack([row(text) for text in rows])

    return row(()), step


def test_the_length_penalty_lets_a_longer_text_win():
    """Three tokens of 0.36 in all against one of 0.4: (6/6)^α, (8/6)^α."""
    table = {(): 0.4, (1,): 1e-9, (1, 1): 0.6}
    options = {"beams": 3, "max_tokens": 3, "stop_tokens": [0]}
    best = {alpha: beam_search(*scripted(table), alpha=alpha, **options)[0] for alpha in (0, 1)}
    assert best[0].tokens == (0,)
    assert best[0].score == pytest.approx(math.log(0.4))
    assert best[1].tokens == (1, 1, 0)
    assert best[1].score == pytest.approx(math.log(0.36) / (8 / 6))
    sums = beam_search(*scripted(table), alpha=1, penalty=lambda n, alpha: 1.0, **options)
    assert sums[0].tokens == (0,)


def test_the_penalty_is_that_of_gnmt():
    assert [length_penalty(n, 1.0) for n in (1, 7, 13)] == [1.0, 2.0, 3.0]
    assert length_penalty(7, 0.5) == pytest.approx(math.sqrt(2))
    assert length_penalty(100, 0.0) == 1.0


def test_an_end_that_is_not_among_the_best_beams_is_not_put_aside():
    """The third of four candidates ends: too unlikely for two beams, were it any other token."""
    logits = np.log([0.1, 0.5, 0.35, 0.05])

    def step(parents, tokens):
        assert parents.tolist() == [0, 0]
        assert tokens.tolist() == [1, 2]
        return np.log([[0.9, 0.04, 0.03, 0.03]] * 2)

    found = beam_search(logits, step, beams=2, max_tokens=5, stop_tokens=[0])
    assert [hypothesis.tokens for hypothesis in found] == [(1, 0), (2, 0)]


def test_poor_ends_do_not_keep_the_search_from_a_good_one():
    """Each step an end is the second best of two; the text that goes on is far ahead of all."""
    going, ending = np.log([0.06, 0.9, 0.04]), np.log([0.98, 0.01, 0.01])
    rows = [going, going, ending, ending]

    def step(parents, tokens):
        return np.stack([rows.pop(0)] * len(tokens))

    found = beam_search(going, step, beams=2, max_tokens=9, stop_tokens=[0], alpha=0.6)
    assert found[0].tokens == (1, 1, 1, 0)


def test_a_place_that_an_end_leaves_is_taken_by_the_next_best():
    logits = np.log([0.5, 0.2, 0.3])
    seen = []

    def step(parents, tokens):
        seen.append(tokens.tolist())
        return np.log([[0.9, 0.06, 0.04]] * len(tokens))

    found = beam_search(logits, step, beams=2, max_tokens=5, stop_tokens=[0], alpha=0.0)
    assert seen == [[2, 1]]
    assert [hypothesis.tokens for hypothesis in found] == [(0,), (2, 0)]


def test_a_token_that_may_not_come_never_does():
    forbidden = np.array([0.0, -np.inf, -np.inf])
    options = {"beams": 3, "max_tokens": 3}
    found = beam_search(
        forbidden, lambda parents, tokens: np.stack([forbidden] * len(tokens)), **options
    )
    assert [hypothesis.tokens for hypothesis in found] == [(0, 0, 0)]
    assert found[0].score == 0.0
    found = beam_search(forbidden, None, **options, stop_tokens=[0])
    assert [hypothesis.tokens for hypothesis in found] == [(0,)]


@pytest.mark.parametrize(("row", "words"), [([0.0, math.nan], "NaN"), ([-math.inf] * 2, "-inf")])
def test_scores_that_choose_nothing_are_refused(row, words):
    with pytest.raises(TinyllmError, match=words):
        beam_search(np.array(row), None, beams=2, max_tokens=2)


@pytest.mark.parametrize(
    "wrong", [{"beams": 0}, {"max_tokens": 0}, {"alpha": -0.1}, {"alpha": math.nan}]
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        beam_search(np.zeros(2), None, **{"beams": 2, "max_tokens": 2} | wrong)


@pytest.mark.parity
@settings(max_examples=8)
@given(st.integers(2, 5), st.sampled_from([0.0, 0.6, 1.0, 2.0]), st.integers(1, 6), rngs)
def test_the_search_is_that_of_transformers(beams, alpha, max_tokens, rng):
    """Which divides by n^α, and stops like this search without early_stopping."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, initializer_range=1.0,
        bos_token_id=1, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(int(rng.integers(2**31)))
    model = transformers.LlamaForCausalLM(config).double().eval()
    prompt = rng.integers(1, 9, 3).tolist()
    theirs = model.generate(
        torch.tensor([prompt]), num_beams=beams, num_return_sequences=beams, do_sample=False,
        early_stopping=False, length_penalty=alpha, max_new_tokens=max_tokens,
        attention_mask=torch.ones(1, 3, dtype=torch.int64),
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    texts = [prompt]

    @torch.no_grad()
    def step(parents, tokens):
        texts[:] = [[*texts[p], int(t)] for p, t in zip(parents, tokens, strict=True)]
        return model(torch.tensor(texts)).logits[:, -1].numpy()

    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1].numpy()
    found = beam_search(
        logits, step, beams=beams, max_tokens=max_tokens, stop_tokens=[0], alpha=alpha,
        penalty=lambda n, alpha: n**alpha,
    )  # fmt: skip
    for hypothesis, row, score in zip(
        found, theirs.sequences.tolist(), theirs.sequences_scores.tolist(), strict=True
    ):
        assert hypothesis.score == pytest.approx(score, rel=1e-5)
        n = len(hypothesis.tokens)
        assert tuple(row[3 : 3 + n]) == hypothesis.tokens
        assert not any(row[3 + n :])
