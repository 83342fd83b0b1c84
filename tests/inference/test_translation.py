"""tinyllm.inference.translation: decoding with a cache is the forward pass; beams find texts."""

from itertools import pairwise

import numpy as np
import pytest

import tinyllm_numpy as numpy_backend
from tinyllm.errors import UsageError
from tinyllm.inference.translation import TargetReader, translate_ids
from tinyllm.model import Model
from tinyllm.models.examples import example_config, random_params
from tinyllm.models.seq2seq import Pair, seq2seq_forward
from tinyllm.params import nest

FAMILIES = ("marian", "bart", "t5", "t5-v1.1")
SOURCE = [3, 4, 5, 6]


@pytest.fixture(params=FAMILIES)
def model(request):
    config = example_config(request.param)
    return config, random_params(config, np.random.default_rng(0))


def tree(xp, params):
    return nest({name: xp.asarray(x) for name, x in params.items()})


def full(xp, params, config, target):
    pair = Pair(xp.asarray(np.array([SOURCE])), xp.asarray(np.array([target])))
    return xp.to_numpy(seq2seq_forward(xp, pair, tree(xp, params), config)[0])[0]


@pytest.mark.parametrize("chunks", [[1] * 6, [6], [2, 1, 3]], ids=str)
def test_a_cache_changes_nothing(xp, model, chunks):
    config, params = model
    target = [2, 3, 4, 5, 6, 7]
    reader = TargetReader(xp, tree(xp, params), config, SOURCE, capacity=6)
    cuts = np.cumsum([0, *chunks])
    parts = [reader.read(np.array([target[a:b]])) for a, b in pairwise(cuts)]
    expected = full(xp, params, config, target)
    np.testing.assert_allclose(np.concatenate(parts, axis=1)[0], expected, rtol=0, atol=1e-12)


def test_reordered_beams_go_on_with_their_own_beginning(xp, model):
    config, params = model
    reader = TargetReader(xp, tree(xp, params), config, SOURCE, capacity=4)
    reader.read(np.array([[2]]))
    reader.reorder(np.array([0, 0, 0]))
    reader.read(np.array([[3], [4], [5]]))
    reader.reorder(np.array([2, 0]))
    found = reader.read(np.array([[6], [7]]))
    for row, target in enumerate([[2, 5, 6], [2, 3, 7]]):
        expected = full(xp, params, config, target)[-1]
        np.testing.assert_allclose(found[row, 0], expected, rtol=0, atol=1e-12)


def test_one_beam_is_greedy(model):
    config, params = model
    xp, target = numpy_backend, [config.start_id]
    (found,) = translate_ids(
        xp, nest(params), config, SOURCE, beams=1, max_tokens=6, stop_tokens=(9,)
    )
    while len(target) < 7 and target[-1] != 9:
        logits = full(xp, params, config, target)[-1]
        logits[config.pad_id] = -np.inf
        target.append(int(logits.argmax()))
    assert list(found.tokens) == target[1:]


def test_a_model_translates_ids(model):
    config, params = model
    whole = Model(config, params, xp=numpy_backend)
    found = whole.translate(SOURCE, beams=3, max_tokens=5)
    assert len(found.tokens) <= 5
    assert found.text == ""
    wide = whole.translate(SOURCE, beams=8, alpha=0.0, max_tokens=5)
    assert wide.score >= whole.translate(SOURCE, beams=1, alpha=0.0, max_tokens=5).score - 1e-12
    with pytest.raises(UsageError, match="has 17 tokens; this model reads 1 to 16"):
        whole.translate([3] * 17)
    with pytest.raises(UsageError, match="translate is what it is for"):
        whole.generate(SOURCE)
