"""tinyllm.evaluation.masked: each token hidden in turn, whatever is around the text."""

import dataclasses
import math

import numpy as np
import pytest

import tinyllm_numpy
from tinyllm.errors import UsageError
from tinyllm.evaluation import measure_pseudo_perplexity
from tinyllm.model import Model
from tinyllm.models.examples import example_config, random_params
from tinyllm.tokenizers import train_byte_level_bpe

MASK = 3


def model_of(**changes):
    markers = ("<s>", "<pad>", "</s>", "<mask>")
    tokenizer = dataclasses.replace(
        train_byte_level_bpe(["x"], 260, special_tokens=markers, bos="<s>", eos="</s>"), **changes
    )
    config = dataclasses.replace(example_config("bert"), vocab_size=260, pad_id=1)
    params = random_params(config, np.random.default_rng(0))
    return Model(config, params, xp=tinyllm_numpy, tokenizer=tokenizer)


def by_hand(model, rows, edges):
    total, count = 0.0, 0
    for row in rows:
        for place in range(edges[0], len(row) - edges[1]):
            hidden = [*row[:place], MASK, *row[place + 1 :]]
            scores = model.forward([hidden])[0, place]
            total -= scores[row[place]] - np.log(np.exp(scores).sum())
            count += 1
    return total / count, count


@pytest.mark.parametrize("eos", [False, True])
def test_it_is_the_mean_over_tokens_hidden_one_by_one(eos):
    model = model_of(add_eos=eos)
    ids = [model.tokenizer.encode(text) for text in ("cats", "sat on it")]
    end = [2] * eos
    nll, count = by_hand(model, [[0, *row, *end] for row in ids], (1, eos))
    found = measure_pseudo_perplexity(model, ["cats", "sat on it"])
    assert found.nll == pytest.approx(nll, rel=1e-12)
    assert found.ppl == pytest.approx(math.exp(nll), rel=1e-12)
    assert (found.texts, found.tokens_scored, found.context) == (2, count, 16)


def test_a_long_text_is_cut():
    model = model_of()
    ids = model.tokenizer.encode("sat on it")
    nll, count = by_hand(model, [[0, *ids[:4]], [0, *ids[4:8]], [0, *ids[8:]]], (1, 0))
    found = measure_pseudo_perplexity(model, ["sat on it"], context=5)
    assert found.nll == pytest.approx(nll, rel=1e-12)
    assert found.tokens_scored == count == 9


@pytest.mark.parametrize("context", [0, 1, 17])
def test_a_context_out_of_range_is_refused(context):
    with pytest.raises(UsageError, match=f"context is {context}, expected 2 to 16"):
        measure_pseudo_perplexity(model_of(), ["x"], context=context)


def test_nothing_to_hide_is_refused():
    with pytest.raises(UsageError, match="no token that could be hidden"):
        measure_pseudo_perplexity(model_of(), [])
