"""tinyllm.training.spans: what is taken out of a text, and that nothing is lost of it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.errors import UsageError
from tinyllm.models.examples import example_config
from tinyllm.tokenizers import train_byte_level_bpe
from tinyllm.training.spans import SENTINELS, corrupted_spans, sentinels_of, take_spans
from tinyllm.training.tasks import task_of

IDS = list(range(900, 1000))  # of sentinels
T5 = example_config("t5")


def put_back(source, target):
    """Undo it: a sentinel of the source is what stands behind it in the target."""
    starts = [i for i, token in enumerate(target) if token in IDS]
    runs = {target[a]: target[a + 1 : b] for a, b in pairwise(starts)}
    return [x for token in source for x in (runs[token] if token in IDS else [token])]


@settings(max_examples=60)
@given(st.integers(0, 400), st.integers(0, 2**32))
def test_source_and_target_together_are_the_text(T, seed):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 800, T)
    source, target = take_spans(tokens, rng, IDS)
    assert put_back(source, target) == tokens.tolist()
    seen = [token for token in source if token in IDS]
    assert seen == IDS[: len(seen)], "sentinels stand in their order"
    assert [token for token in target if token in IDS] == IDS[: len(seen) + 1]
    assert target[-1] == IDS[len(seen)]
    taken = len(target) - len(seen) - 1
    assert taken == min(T, max(1, round(0.15 * T)))
    assert len(source) == T - taken + len(seen)


def test_fifteen_in_a_hundred_are_taken_in_runs_of_three():
    rng, at = np.random.default_rng(0), np.zeros(200)
    for _ in range(500):
        source, target = take_spans(np.arange(200), rng, IDS)
        assert len(source) + len(target) == 200 + 2 * 10 + 1
        at[[token for token in target if token not in IDS]] += 1
    assert at.sum() == 500 * 30
    middle = at[20:-20] / 500
    assert np.abs(middle - 0.15).max() < 0.08, "anywhere alike"


def test_more_runs_than_sentinels_are_refused():
    with pytest.raises(UsageError, match="100 tokens has 5 runs, and there are 5 sentinels"):
        take_spans(np.arange(100), np.random.default_rng(0), IDS[:5])


@pytest.fixture(scope="module")
def tokenizer():
    special = ("<pad>", "</s>", *SENTINELS[:9])
    return train_byte_level_bpe(["x"], 267, special_tokens=special, bos=None, eos="</s>")


def test_sentinels_are_found_in_their_order(tokenizer):
    assert sentinels_of(tokenizer) == [tokenizer.special_tokens[name] for name in SENTINELS[:9]]


def test_a_batch_is_a_pair_that_ends_and_is_the_same_at_the_same_place(tokenizer):
    rows = np.random.default_rng(0).integers(11, 267, (3, 42))
    task = task_of(T5, tokenizer, seed=3)
    (pair, targets), (again, _), (other, _) = (task(rows, at) for at in ((0, 1), (0, 1), (0, 2)))
    np.testing.assert_array_equal(pair.source, again.source)
    assert not np.array_equal(pair.source, other.source)
    assert (pair.source[:, -1] == 1).all()
    assert (targets[:, -1] == 1).all()
    assert (pair.target[:, 0] == T5.start_id).all()
    np.testing.assert_array_equal(pair.target[:, 1:], targets[:, :-1])
    assert pair.source.shape[1] <= 41


@pytest.mark.parametrize("length", [2, 3, 4])
def test_what_is_left_at_the_end_of_a_text_is_enough(tokenizer, length):
    pair, targets = corrupted_spans(tokenizer, T5)(np.full((1, length), 20), (0,))
    assert targets.shape[1] >= 3
    assert pair.target.shape == targets.shape


def test_a_tokenizer_without_sentinels_is_refused():
    plain = train_byte_level_bpe(["x"], 258, special_tokens=("<pad>", "</s>"), bos=None, eos="</s>")
    with pytest.raises(UsageError, match="give a --target"):
        task_of(T5, plain)
    with pytest.raises(UsageError, match="give a --tokenizer"):
        task_of(T5, None)
