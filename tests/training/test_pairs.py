"""tinyllm.training.pairs: sources beside targets, what the decoder is given, files of both."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from tinyllm.errors import UsageError
from tinyllm.models.architecture import architecture
from tinyllm.models.examples import example_config, random_params
from tinyllm.models.seq2seq import Pair
from tinyllm.ops.losses import IGNORED
from tinyllm.params import nest
from tinyllm.tokenizers import train_byte_level_bpe
from tinyllm.training.gradients import batch_gradients
from tinyllm.training.pairs import Pairs, pair_numbers, read_pairs
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer

MARIAN, END = example_config("marian"), 2
PAIRS = [([3, 4, 5, END], [6, END]), ([7, END], [8, 9, 10, END]), ([5, 6, END], [4, 3, END])]


def test_the_shorter_are_filled_up_and_targets_are_given_one_late():
    pair, targets = Pairs(PAIRS[:2], MARIAN).batches(2, 9)[0]
    assert pair.source.tolist() == [[3, 4, 5, END], [7, END, 1, 1]]
    assert targets.tolist() == [[6, END, IGNORED, IGNORED], [8, 9, 10, END]]
    start = MARIAN.start_id
    assert pair.target.tolist() == [[start, 6, END, 1], [start, 8, 9, 10]]
    assert pair.source.dtype == pair.target.dtype == targets.dtype == np.int64


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_an_epoch_has_each_pair_once_whatever_the_batch(n, size, seed):
    pairs = [([10 + i, END], [20 + i, END]) for i in range(n)]
    data, position, seen = Pairs(pairs, MARIAN, seed=seed), (0, 0), []
    while len(seen) < 3 * n:
        again = data.batch(position, size)
        pair, targets, position = data.batch(position, size)
        np.testing.assert_array_equal(again[0].source, pair.source)
        np.testing.assert_array_equal(targets[:, 0], pair.source[:, 0] + 10)
        seen += pair.source[:, 0].tolist()
    for epoch in range(3):
        assert sorted(seen[epoch * n : epoch * n + n]) == [10 + i for i in range(n)]
    assert position == divmod(len(seen), n)


@pytest.mark.parametrize("name", ["marian", "bart", "t5", "t5-v1.1"])
def test_a_batch_is_the_sum_of_its_pairs(name):
    """Padding on either side, and what was cut into pieces, changes no gradient."""
    config = example_config(name)
    p = nest(random_params(config, np.random.default_rng(0)))
    data = Pairs(PAIRS, config)
    ((pair, targets),) = data.batches(3, 9)
    together = batch_gradients(tinyllm_numpy, config, p, pair, targets)
    alone = [batch_gradients(tinyllm_numpy, config, p, *one) for one in data.batches(1, 9)]
    assert together.count == sum(one.count for one in alone) == 9
    assert together.loss_sum == pytest.approx(sum(one.loss_sum for one in alone), rel=1e-12)
    for key, grad in together.grads.items():
        expected = sum(x.grads[key] for x in alone)
        assert np.abs(grad - expected).max() <= 1e-12 * max(1.0, np.abs(expected).max()), key


@pytest.mark.parametrize("name", ["marian", "t5-v1.1"])
def test_a_model_learns_to_copy(name):
    config = dataclasses.replace(example_config(name), eos_ids=(END,))
    rng = np.random.default_rng(0)
    pairs = [([a, b, END], [a, b, END]) for a, b in rng.integers(3, 11, (40, 2)).tolist()]
    data = Pairs(pairs, config)
    params = architecture(config).init_params(config, rng)
    chosen = Settings(steps=200, batch_size=20, seq_len=4, lr=0.02, eval_every=0)
    trainer = Trainer(tinyllm_numpy, config, params, data, chosen, validation=data)
    first, *_, last = trainer
    assert first.counted == 60
    assert last.val_loss < 0.9, "who knows only that two of eight letters come has 1.39"


def test_what_cannot_be_learnt_from_is_refused():
    with pytest.raises(UsageError, match="no pair"):
        Pairs([], MARIAN)
    with pytest.raises(UsageError, match="no token for padding"):
        Pairs(PAIRS, dataclasses.replace(MARIAN, pad_id=None))


@pytest.fixture(scope="module")
def tokenizer():
    return train_byte_level_bpe(
        ["bytes"], 258, special_tokens=("<pad>", "</s>"), bos=None, eos="</s>"
    )


@pytest.fixture
def files(tmp_path):
    def write(source, target):
        for name, text in (("source", source), ("target", target)):
            (tmp_path / name).write_bytes(text.encode())
        return tmp_path / "source", tmp_path / "target"

    return write


def test_lines_are_pairs_and_targets_end(files, tokenizer):
    pairs, left_out = read_pairs(*files("ab\r\nc d\n", "é\nx"), tokenizer, longest=9)
    assert left_out == 0
    assert [tokenizer.decode(ids) for pair in pairs for ids in pair] == ["ab", "é", "c d", "x"]
    assert [pair[1][-1] for pair in pairs] == [tokenizer.eos_id] * 2


def test_an_epoch_is_drawn_once(monkeypatch):
    pairs, drawn = Pairs(PAIRS, MARIAN), []
    rng = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: drawn.append(seed) or rng(seed))
    position = (0, 0)
    for _ in range(5):
        *_, position = pairs.batch(position, 1)
    assert [epoch for *_, epoch in drawn] == [0, 1]


def test_blank_and_long_pairs_are_left_out_and_counted(files, tokenizer):
    lines = files("a\n\nb\n123456789\nc\n", "x\ny\n \nz\n123456789\n")
    pairs, left_out = read_pairs(*lines, tokenizer, longest=9)
    assert left_out == 3
    assert [tokenizer.decode(source) for source, _ in pairs] == ["a", "123456789"]


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("a\nb\n", "x\n", "source has 2 lines and .*target 1"),
        ("a\n", "\n", "no line has a target and at most 9 tokens"),
        ("a\n", "", "is empty"),
    ],
)
def test_files_that_do_not_pair_are_refused(files, tokenizer, source, target, says):
    with pytest.raises(UsageError, match=says):
        read_pairs(*files(source, target), tokenizer, longest=9)


def test_a_tokenizer_without_an_end_is_refused(files, tokenizer):
    with pytest.raises(UsageError, match="no token that ends a text"):
        read_pairs(*files("a", "b"), dataclasses.replace(tokenizer, eos_id=None), longest=9)


def test_a_moved_border_is_another_number():
    numbers = [
        tuple(pair_numbers(pairs).tolist())
        for pairs in (
            [([3, 4], [5])],
            [([3], [4, 5])],
            [([3], [4]), ([5], [6])],
            [([3], [4, 5, 6])],
        )
    ]
    assert Counter(numbers).most_common(1)[0][1] == 1


def test_rows_of_a_pair_are_a_pair():
    pair = Pair(np.arange(6).reshape(3, 2), np.arange(3).reshape(3, 1))
    some = pair[1:]
    assert (some.source.tolist(), some.target.tolist()) == ([[2, 3], [4, 5]], [[1], [2]])
