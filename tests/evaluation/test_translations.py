"""tinyllm.evaluation.translations: scores of targets, and translations beside them."""

import dataclasses

import numpy as np
import pytest

import tinyllm_numpy
from tinyllm.errors import UsageError
from tinyllm.evaluation import measure_translations
from tinyllm.model import Model
from tinyllm.models.examples import example_config, random_params
from tinyllm.models.seq2seq import Pair, shifted_right
from tinyllm.tokenizers import train_byte_level_bpe


@pytest.fixture(scope="module", params=["marian", "t5"])
def model(request):
    tokenizer = train_byte_level_bpe(
        ["x"], 258, special_tokens=("<pad>", "</s>"), bos=None, eos="</s>"
    )
    config = example_config(request.param)
    sides = {
        side: dataclasses.replace(getattr(config, side), vocab_size=258)
        for side in ("encoder", "decoder")
    }
    config = dataclasses.replace(config, **sides, pad_id=0, start_id=0, eos_ids=(1,))
    params = random_params(config, np.random.default_rng(0))
    return Model(config, params, xp=tinyllm_numpy, tokenizer=tokenizer)


def test_the_scores_are_those_of_teacher_forcing(model):
    sources, targets = ["ab", "c"], ["x", "yz é"]
    total, count = 0.0, 0
    for source, target in zip(sources, targets):
        ids = np.array([model.tokenizer.encode(source)])
        wanted = np.array([[*model.tokenizer.encode(target), 1]])
        loss, _ = model.loss_and_grads(Pair(ids, shifted_right(wanted, model.config)), wanted)
        total, count = total + loss * wanted.size, count + wanted.size
    found = measure_translations(model, sources, targets, max_tokens=2)
    assert found.nll == pytest.approx(total / count, rel=1e-12)
    assert (found.pairs, found.exact, found.bleu) == (2, 0.0, 0.0)


def test_its_own_translations_are_exact(model):
    sources = ["ab", "c d"]
    own = [model.translate(text, beams=2, alpha=0.5, max_tokens=9).text for text in sources]
    found = measure_translations(model, sources, own, beams=2, alpha=0.5, max_tokens=9)
    assert found.exact == 1.0
    assert (found.beams, found.alpha) == (2, 0.5)


@pytest.mark.parametrize(
    ("sources", "targets", "says"),
    [
        ([], [], "0 sources and 0 targets"),
        (["a"], [], "1 sources and 0 targets"),
        (["a" * 17], ["b"], "a source has 17 tokens; this model takes 1 to 16"),
        (["a"], ["b" * 16], "a target has 17 tokens"),
        ([""], ["b"], "a source has 0 tokens"),
    ],
)
def test_what_cannot_be_judged_is_refused(model, sources, targets, says):
    with pytest.raises(UsageError, match=says):
        measure_translations(model, sources, targets)
