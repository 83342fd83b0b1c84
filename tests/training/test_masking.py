"""tinyllm.training.masking and tasks: what an encoder is asked for, and what it sees of it."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from tinyllm.errors import UsageError
from tinyllm.models.examples import example_config
from tinyllm.models.init import init_encoder
from tinyllm.ops.losses import IGNORED
from tinyllm.tokenizers import train_byte_level_bpe
from tinyllm.training.masking import hide_tokens, masked_tokens
from tinyllm.training.settings import Settings
from tinyllm.training.tasks import next_tokens, task_of
from tinyllm.training.trainer import Trainer
from tinyllm.training.windows import Windows, WindowsInOrder

MASK, SPECIAL, OTHERS = 3, (0, 1, 2, 3), 260
MARKERS = {"special_tokens": ("<s>", "<pad>", "</s>", "<mask>"), "bos": "<s>", "eos": "</s>"}


@pytest.fixture(scope="module")
def tokenizer():
    return train_byte_level_bpe(["bytes"], OTHERS, **MARKERS)


def hidden(tokens, seed=0):
    rng = np.random.default_rng(seed)
    return hide_tokens(tokens, rng, mask=MASK, special=SPECIAL, others=OTHERS)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32))
def test_what_is_asked_for_is_the_text_and_what_is_not_stays(B, T, seed):
    tokens = np.random.default_rng(seed).integers(0, 12, (B, T))
    shown, targets = hidden(tokens, seed)
    asked = targets != IGNORED
    np.testing.assert_array_equal(np.where(asked, targets, shown), tokens)
    assert not np.isin(tokens[asked], SPECIAL).any()
    can_be = (~np.isin(tokens, SPECIAL)).sum(axis=1)
    expected = [min(n, max(1, round(0.15 * n))) for n in can_be.tolist()]
    assert asked.sum(axis=1).tolist() == expected


def test_eighty_in_a_hundred_are_hidden_ten_replaced_and_ten_shown():
    tokens = np.random.default_rng(0).integers(4, OTHERS, (1000, 200))
    shown, targets = hidden(tokens)
    asked = targets != IGNORED
    assert asked.mean() == 0.15
    as_mask, as_it_is = (shown == MASK)[asked].mean(), (shown == tokens)[asked].mean()
    assert as_mask == pytest.approx(0.8, abs=0.01)
    assert as_it_is == pytest.approx(0.1, abs=0.01)
    replaced = shown[asked & (shown != MASK) & (shown != tokens)]
    assert (replaced.min(), replaced.max()) == (0, OTHERS - 1)
    np.testing.assert_allclose(asked.mean(axis=0), 0.15, atol=0.05)


def test_the_same_place_hides_the_same_and_another_does_not(tokenizer):
    rows = np.random.default_rng(0).integers(4, OTHERS, (3, 65))
    task = masked_tokens(tokenizer, seed=7)
    for one, again, other in zip(task(rows, (0, 5)), task(rows, (0, 5)), task(rows, (1, 5))):
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)
    assert not np.array_equal(task(rows, (0, 5))[0], masked_tokens(tokenizer)(rows, (0, 5))[0])


def test_a_window_has_the_frame_of_a_text(tokenizer):
    rows = np.full((2, 9), 9)
    tokens, targets = masked_tokens(dataclasses.replace(tokenizer, add_eos=True))(rows, (0, 0))
    assert tokens.shape == targets.shape == (2, 8)
    assert (tokens[:, 0] == 0).all()
    assert (tokens[:, -1] == 2).all()
    assert (targets[:, [0, -1]] == IGNORED).all()
    assert (rows == 9).all(), "the data were written to"
    plain = dataclasses.replace(tokenizer, add_bos=False)
    assert not np.isin(masked_tokens(plain)(rows, (0, 0))[0], (0, 2)).all()


def test_each_kind_of_model_has_its_task(tokenizer):
    assert task_of(example_config("llama"), None) is next_tokens
    assert task_of(example_config("lstm"), tokenizer) is next_tokens
    bert = example_config("bert")
    rows = np.full((1, 9), 9)
    assert task_of(bert, tokenizer)(rows, (0,))[1].max() == 9
    with pytest.raises(UsageError, match="give a --tokenizer that has one"):
        task_of(bert, None)
    with pytest.raises(UsageError, match=r"no token \[MASK\] or <mask>"):
        task_of(bert, train_byte_level_bpe(["bytes"], 257))


BERT = dataclasses.replace(example_config("bert"), vocab_size=OTHERS, pad_id=1)


def encoder_trainer(tokenizer, tokens, **changes):
    config, task = BERT, task_of(BERT, tokenizer)
    chosen = Settings(**{"steps": 40, "batch_size": 8, "seq_len": 12, "lr": 0.02} | changes)
    return Trainer(
        tinyllm_numpy, config, init_encoder(config, np.random.default_rng(0)),
        Windows(tokens, chosen.seq_len, task=task), chosen,
        validation=WindowsInOrder(tokens[:60], chosen.seq_len, task=task),
    )  # fmt: skip


def test_an_encoder_learns_what_is_hidden(tokenizer):
    trainer = encoder_trainer(tokenizer, np.tile(np.array([70, 90, 80]), 100))
    first, *_, last = trainer
    assert first.loss == pytest.approx(np.log(OTHERS), rel=0.05)
    assert first.counted == 8 * 2
    assert last.val_loss < 2.5
    assert trainer.evaluate() == last.val_loss, "an evaluation hides other tokens than the last"


def test_validation_without_a_token_to_ask_for_is_refused(tokenizer):
    trainer = encoder_trainer(tokenizer, np.tile(np.array([70, 90, 80]), 100))
    trainer.validation = WindowsInOrder(np.array([0, 1, 2]), 12, task=task_of(BERT, tokenizer))
    with pytest.raises(UsageError, match="the validation data have no token"):
        trainer.evaluate()
