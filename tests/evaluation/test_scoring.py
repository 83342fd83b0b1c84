"""Scores of tokens: those of the logits, however batched, and without all logits at once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.small_models import random_model
from strategies import rngs
from tiny import ROPES
from tinyllm.errors import UsageError
from tinyllm.evaluation import scoring
from tinyllm.evaluation.scoring import Window, score_windows, target_logprobs
from tinyllm.ops.losses import IGNORED
from tinyllm.ops.softmax import log_softmax_forward

ROPE = {"default": ROPES["default"], "dynamic": replace(ROPES["dynamic"], original_context=8)}


@pytest.mark.parametrize("rope", ROPE)
@settings(max_examples=6)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), min_size=1, max_size=9), rngs)
def test_a_window_scores_alike_alone_and_among_others(rope, shapes, rng):
    model = random_model(positions=ROPE[rope])
    windows = [
        Window(tokens=rng.integers(0, 270, length).tolist(), scored=min(scored, length - 1))
        for length, scored in shapes
    ]
    together = score_windows(model, windows)
    for window, found in zip(windows, together, strict=True):
        assert found.shape == (window.scored,)
        if window.scored:
            tokens = np.array([window.tokens])
            log_probs = log_softmax_forward(model.xp, model.forward(tokens[:, :-1]))[0][0]
            expected = log_probs[np.arange(len(log_probs)), tokens[0, 1:]][-window.scored :]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_batches_are_bounded_and_of_about_equal_length(monkeypatch):
    monkeypatch.setattr(scoring, "BATCH", 100)
    model, seen, logprobs = random_model(), [], random_model().logprobs

    def recording(tokens, targets):
        seen.append(tokens.shape)
        return logprobs(tokens, targets)

    monkeypatch.setattr(model, "logprobs", recording)
    lengths = [3, 50, 20, 50, 4, 20, 20, 1, 64]
    lines = []
    windows = [Window(tokens=[5] * length, scored=length - 1) for length in lengths]
    score_windows(model, windows, lines.append)
    assert sorted(seen, reverse=True) == [(5, 19), (2, 49), (1, 63)]
    assert lines == ["scored 223 of 223 tokens"]


def test_log_probabilities_are_looked_up_in_blocks(xp, monkeypatch):
    monkeypatch.setattr(scoring, "LOGITS", 7 * 3)
    rng = np.random.default_rng(0)
    hidden, weight = rng.standard_normal((2, 5, 4)), rng.standard_normal((7, 4))
    targets = rng.integers(0, 7, (2, 5))
    targets[0, 1] = targets[1, 4] = IGNORED
    sizes = []

    def head(rows):
        sizes.append(rows.shape[0])
        return xp.linear(rows, xp.asarray(weight))

    found = target_logprobs(xp, xp.asarray(hidden), targets, head, 7)
    logits = hidden @ weight.T
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(log_probs, np.maximum(targets, 0)[..., None], 2)[..., 0]
    np.testing.assert_allclose(found, np.where(targets == IGNORED, 0, expected), atol=1e-12)
    assert sizes == [3, 3, 2]


def test_ids_are_checked():
    model = random_model()
    with pytest.raises(UsageError, match="token id 270"):
        model.logprobs([[1, 2]], [[2, 270]])
    with pytest.raises(UsageError, match="token id -100"):
        model.logprobs([[1, IGNORED]], [[2, 3]])
    assert model.logprobs([[1, 2]], [[IGNORED, IGNORED]]).tolist() == [[0, 0]]
