"""tinyllm.training.trainer, settings, validation and divergence"""

import dataclasses
import math

import numpy as np
import pytest

import tinyllm_numpy
from conftest import data
from tiny import tiny_config
from tinyllm.errors import UsageError
from tinyllm.model import Model
from tinyllm.models.experts import Experts
from tinyllm.models.init import init_params
from tinyllm.ops.losses import IGNORED
from tinyllm.ops.routing import Routing
from tinyllm.params import nest
from tinyllm.training.clipping import clip_by_global_norm
from tinyllm.training.divergence import DivergedError
from tinyllm.training.optimizers import OPTIMIZERS, adamw_update
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.validation import mean_loss
from tinyllm.training.windows import Windows, WindowsInOrder
from training.tiny_run import CONFIG, SETTINGS, TOKENS, assert_equal, host, tiny_trainer

SMALL = tiny_config(n_layers=1, n_heads=2, n_kv_heads=1, max_seq_len=8)


def test_a_step_is_gradient_clipping_and_optimiser():
    trainer = tiny_trainer(clip=0.1, dtype=np.float64, weight_decay=0.3)
    before = dict(trainer.params)
    tokens, targets, _ = trainer.data.batch((0, 0), 3)
    model = Model(CONFIG, before, xp=tinyllm_numpy)
    loss, grads = model.loss_and_grads(tokens, targets)
    report = trainer.advance()
    clipped, norm = clip_by_global_norm(tinyllm_numpy, grads, 0.1)
    assert norm > 0.1
    state = OPTIMIZERS["adamw"].init(tinyllm_numpy, before)
    wanted = adamw_update(tinyllm_numpy, before, clipped, state, lr=0.005, weight_decay=0.3)
    for name, p in wanted.items():
        np.testing.assert_allclose(trainer.params[name], p, rtol=0, atol=1e-9, err_msg=name)
    assert report.loss == pytest.approx(loss, rel=1e-12)
    assert report.grad_norm == pytest.approx(norm, rel=1e-9)
    assert (report.step, report.lr, report.counted, report.tokens) == (1, 0.005, 15, 15)


def test_a_clip_of_zero_clips_nothing():
    free, loose = tiny_trainer(clip=0.0), tiny_trainer(clip=1e9)
    for trainer in (free, loose):
        trainer.advance()
    assert_equal(host(free), host(loose))


def test_it_learns_what_there_is_to_learn():
    trainer = tiny_trainer(config=SMALL, steps=30, lr=0.03, clip=1.0, eval_every=15)
    reports = list(trainer)
    assert reports[0].loss == pytest.approx(math.log(CONFIG.vocab_size), rel=0.05)
    assert reports[-1].loss < 1.0
    assert reports[-1].val_loss < 1.0
    assert [r.step for r in reports] == list(range(1, 31))
    assert [r.step for r in reports if r.val_loss is not None] == [15, 30]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_backends_take_the_same_steps(xp, dropout):
    options = {"config": SMALL, "dtype": np.float64, "steps": 2, "dropout": dropout}
    ours, numpys = tiny_trainer(xp, **options), tiny_trainer(**options)
    for a, b in zip(ours, numpys):
        assert a.loss == pytest.approx(b.loss, rel=1e-10)
    for name, p in host(ours).items():
        np.testing.assert_allclose(p, numpys.params[name], rtol=0, atol=1e-9)


class Texts:
    """Batches of texts of unequal lengths, as a caller may bring them."""

    def __init__(self, *batches):
        self.batches = batches

    def batch(self, position, size):
        epoch, seen = position
        return *self.batches[seen], (epoch, (seen + 1) % len(self.batches))


def text(rng, B, T, counted):
    tokens, targets = rng.integers(0, CONFIG.vocab_size, (2, B, T))
    targets[:, counted:] = IGNORED
    return tokens, targets


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_accumulated_batches_of_unequal_lengths_are_one_batch(optimizer):
    """Each target weighs the same, whichever batch it came in: to 1e-10."""
    rng = np.random.default_rng(0)
    parts = [text(rng, 2, 7, 7), text(rng, 2, 7, 2), text(rng, 2, 7, 4)]
    whole = tuple(np.concatenate([part[i] for part in parts]) for i in (0, 1))
    params = init_params(CONFIG, rng, np.float64)

    def trained(data, **changes):
        settings = Settings(**{**SETTINGS, "optimizer": optimizer, "lr": 0.1, **changes})
        trainer = Trainer(tinyllm_numpy, CONFIG, params, data, settings)
        return trainer.advance(), trainer.params

    one, in_one = trained(Texts(whole))
    other, in_parts = trained(Texts(*parts), accum=3)
    assert other.counted == one.counted == 2 * (7 + 2 + 4)
    assert other.loss == pytest.approx(one.loss, rel=1e-12)
    assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-10)
    tolerance = {"sgd": 1e-10, "adamw": 1e-6}[optimizer]  # Adam divides small by small
    for name in params:
        np.testing.assert_allclose(in_parts[name], in_one[name], rtol=0, atol=tolerance)


def test_batches_of_a_step_follow_one_another_in_the_data():
    trainer = tiny_trainer(accum=2, batch_size=2)
    trainer.advance()
    assert trainer.position == (0, 4)
    assert trainer.tokens == 4 * 5


def test_one_batch_is_learnt_by_heart():
    trainer = tiny_trainer(
        config=SMALL, steps=40, lr=0.03, eval_every=0, overfit_one_batch=True, tokens=noise()
    )
    last = list(trainer)[-1]
    assert last.loss < 0.5
    assert last.val_loss > 2.0
    assert trainer.data.batch((0, 0), 3)[2] == trainer.position


def noise():
    return np.random.default_rng(0).integers(0, CONFIG.vocab_size, 300)


def test_patience_ends_a_run_when_the_loss_no_longer_falls():
    trainer = tiny_trainer(
        config=SMALL, steps=200, lr=0.03, eval_every=3, patience=3, tokens=noise()
    )
    reports = list(trainer)
    losses = [r.val_loss for r in reports if r.val_loss is not None]
    assert trainer.step < 200
    assert trainer.best == min(losses)
    assert losses.index(min(losses)) == len(losses) - 4


def test_patience_needs_something_to_wait_for():
    trainer = tiny_trainer()
    settings = dataclasses.replace(trainer.settings, patience=1)
    with pytest.raises(UsageError, match="patience needs validation data"):
        Trainer(tinyllm_numpy, CONFIG, trainer.params, trainer.data, settings)


def test_without_validation_data_there_is_no_validation():
    trainer = tiny_trainer()
    trainer.validation = None
    assert all(report.val_loss is None for report in trainer)


def test_dropout_differs_from_step_to_step_and_not_from_run_to_run():
    runs = [tiny_trainer(dropout=0.5, overfit_one_batch=True, optimizer="sgd", lr=1e-9)] * 1
    losses = [report.loss for report in runs[0]]
    again = [
        r.loss for r in tiny_trainer(dropout=0.5, overfit_one_batch=True, optimizer="sgd", lr=1e-9)
    ]
    other = [
        r.loss
        for r in tiny_trainer(dropout=0.5, overfit_one_batch=True, optimizer="sgd", lr=1e-9, seed=1)
    ]
    assert losses == again
    assert len(set(losses)) == len(losses)
    assert not set(losses) & set(other)


def test_averaged_weights_are_what_is_evaluated_and_used():
    seen = []
    trainer = tiny_trainer(average="mean", average_from=3)
    for report in trainer:
        if report.step >= 3:
            seen.append(host(trainer))
        else:
            assert trainer.result is trainer.params
    for name, p in trainer.result.items():
        np.testing.assert_allclose(p, np.mean([s[name] for s in seen], axis=0), atol=1e-7)
    loss = trainer.evaluate()
    assert loss == pytest.approx(loss_on(trainer.result), rel=1e-6)
    assert loss != pytest.approx(loss_on(trainer.params), rel=1e-5)


def test_an_exponential_average_forgets():
    trainer = tiny_trainer(average="ema", average_decay=0.5)
    list(trainer)
    mean = tiny_trainer(average="mean")
    list(mean)
    name = "lm_head.weight"
    near, far = (np.abs(t.result[name] - t.params[name]).max() for t in (trainer, mean))
    assert 0 < near < far


def loss_on(params, tokens=TOKENS[-30:], size=16, limit=256):
    batches = WindowsInOrder(tokens, 5).batches(size, limit)
    return mean_loss(tinyllm_numpy, CONFIG, nest(params), batches)


@pytest.mark.parametrize("size", [1, 2, 16])
@pytest.mark.parametrize(
    ("length", "limit", "windows"),
    [
        (30, 99, [5] * 5 + [4]),
        (30, 6, [5] * 5 + [4]),
        (31, 99, [5] * 6),
        (30, 4, [5] * 4),
        (3, 99, [2]),
    ],
)
def test_the_loss_on_validation_data_is_the_mean_over_all_their_targets(
    size, length, limit, windows
):
    model = Model(CONFIG, init_params(CONFIG, np.random.default_rng(1)), xp=tinyllm_numpy)
    tokens, total, start = TOKENS[:length].astype(int), 0.0, 0
    for T in windows:
        row = tokens[start : start + T + 1]
        total += T * model.loss_and_grads([row[:-1]], [row[1:]])[0]
        start += T
    found = loss_on(model.params, tokens, size=size, limit=limit)
    assert found == pytest.approx(total / sum(windows), rel=1e-6)


# What is not finite


def diverged(trainer):
    kept = host(trainer)
    with pytest.raises(DivergedError) as caught:
        list(trainer)
    return str(caught.value), kept


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_weight_that_is_not_finite_is_named_by_its_layer():
    trainer = tiny_trainer(config=tiny_config(n_layers=3))
    name = "model.layers.2.mlp.up_proj.weight"
    trainer.params[name] = trainer.params[name].copy()
    trainer.params[name][0, 0] = np.inf
    message, kept = diverged(trainer)
    assert message == f"step 1: the loss is nan: {name} is not finite"
    assert_equal(host(trainer), kept)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_activation_that_overflows_is_named_by_its_layer():
    trainer = tiny_trainer(config=tiny_config(n_layers=3))
    for projection in ("up_proj", "gate_proj"):
        name = f"model.layers.1.mlp.{projection}.weight"
        trainer.params[name] = np.full_like(trainer.params[name], 1e38)
    message, _ = diverged(trainer)
    assert "the weights are finite, but what layers.1.mlp" in message


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_weight_that_is_too_large_for_16_bits_is_named():
    trainer = tiny_trainer(precision="float16")
    name = "model.layers.1.mlp.up_proj.weight"
    trainer.params[name] = trainer.params[name].copy()
    trainer.params[name][0, 0] = 1e5
    message, _ = diverged(trainer)
    assert message == f"step 1: the loss is nan: {name} is not finite in float16"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_only_products_of_16_bits_make_infinite_is_named():
    trainer = tiny_trainer(precision="float16", config=tiny_config(n_layers=3))
    for name in ("up_proj", "gate_proj"):
        name = f"model.layers.1.mlp.{name}.weight"
        trainer.params[name] = np.full_like(trainer.params[name], 6e4)
    message, _ = diverged(trainer)
    assert "the weights are finite, but what layers.2.input computes with" in message


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_batch_of_a_step_is_looked_at():
    config = tiny_config(norm="layernorm")
    params = init_params(config, np.random.default_rng(0))
    table = "model.embed_tokens.weight"
    params[table][10] = 2e38  # finite, and the sum of its channels is not
    early, late = np.full((2, 3, 5), 4), np.full((2, 3, 5), 10)
    settings = Settings(**{**SETTINGS, "accum": 2})
    trainer = Trainer(tinyllm_numpy, config, params, Texts(early, late), settings)
    message, _ = diverged(trainer)
    assert "the weights are finite, but what layers.0.input_layernorm computes with" in message


def test_what_diverged_is_looked_for_in_as_few_texts_at_a_time_as_a_step_takes(monkeypatch):
    from tinyllm.training import gradients
    from tinyllm.training import trainer as module

    seen = []
    monkeypatch.setattr(gradients, "PIECE", 10)
    monkeypatch.setattr(module, "global_norm", lambda xp, grads: math.inf)
    monkeypatch.setattr(module, "first_not_finite", lambda *given: seen.extend(given[-1]) or "")
    trainer = tiny_trainer(batch_size=5, accum=2)
    diverged(trainer)
    assert [len(rows) for rows in seen] == [2, 2, 1, 2, 2, 1]
    whole, _, _ = trainer.data.batch((0, 0), 10)
    np.testing.assert_array_equal(np.concatenate(seen), whole)


def test_a_gradient_that_is_not_finite_is_named(monkeypatch):
    from tinyllm.training import trainer as module

    trainer, whole = tiny_trainer(), module.batch_gradients

    def planted(*arguments, **options):
        found = whole(*arguments, **options)
        found.grads["model.layers.1.input_layernorm.weight"][0] = np.nan
        return found

    monkeypatch.setattr(module, "batch_gradients", planted)
    message, _ = diverged(trainer)
    assert message.startswith("step 1: the gradient is nan long")
    assert "the gradient of model.layers.1.input_layernorm.weight is not" in message


def test_a_sum_of_batches_that_overflows_is_said_to(monkeypatch):
    from tinyllm.training import trainer as module

    monkeypatch.setattr(module, "global_norm", lambda xp, grads: math.inf)
    message, _ = diverged(tiny_trainer())
    assert message.endswith("single gradients are finite, but their sums are not")


def test_a_validation_loss_that_is_not_finite_ends_a_run(monkeypatch):
    trainer = tiny_trainer()
    monkeypatch.setattr(trainer, "evaluate", lambda: math.nan)
    message, _ = diverged(trainer)
    assert message == "step 2: the loss on the validation data is nan"


# Mixtures of experts

MIXED = dataclasses.replace(
    SMALL, experts=Experts(n_experts=5, d_ff=4, routing=Routing(k=1, renormalise=False))
)


def train_with_a_favourite(balance):
    """Begin with a router that sends every token to the first expert."""
    trainer = tiny_trainer(
        config=MIXED, steps=20, lr=0.03, batch_size=6, balance=balance, eval_every=0
    )
    table, router = "model.embed_tokens.weight", "model.layers.0.mlp.gate.weight"
    trainer.params[table] = np.abs(trainer.params[table])
    trainer.params[router][0] = 0.3
    return list(trainer)


def test_a_balance_loss_brings_work_to_the_experts_that_have_none():
    free, even = (train_with_a_favourite(balance) for balance in ("", "expert=1,z=0.001"))
    assert free[0].expert_load == even[0].expert_load == [[5.0, 0.0, 0.0, 0.0, 0.0]]
    assert free[-1].expert_load[0].count(0.0) == 3
    assert min(even[-1].expert_load[0]) > 0.0
    assert sum(even[-1].expert_load[0]) == pytest.approx(5.0, abs=1e-3)
    assert free[-1].balance is None
    assert even[-1].balance.keys() == {"expert", "z"}
    assert even[-1].balance["expert"] < 1.5 < even[0].balance["expert"]


def test_what_is_beside_the_cross_entropy_is_in_the_gradient():
    plain = tiny_trainer().advance()
    for setting in ({"label_smoothing": 0.5}, {"z_loss": 0.5}):
        other = tiny_trainer(**setting).advance()
        assert other.loss != plain.loss
        assert other.grad_norm != plain.grad_norm


def test_a_balance_that_has_nothing_to_balance_is_refused():
    with pytest.raises(UsageError, match="balance is 'z=1', and the model has no experts"):
        tiny_trainer(balance="z=1")
    with pytest.raises(UsageError, match="balance has 'much', expected weights of expert, "):
        tiny_trainer(config=MIXED, balance="much")


# Settings

BAD = {
    "steps": 0, "batch_size": 0, "seq_len": -1, "accum": 0, "eval_windows": 0, "warmup": -1,
    "average_from": -1, "eval_every": -1, "save_every": -1, "patience": -1, "weight_decay": -0.1,
    "clip": math.nan, "lr": 0.0, "floor": 1.1, "dropout": 1.0, "average_decay": 1.0, "seed": -1,
    "schedule": "steps", "optimizer": "lion", "average": "median", "label_smoothing": 1.0,
    "z_loss": math.inf,
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_setting_out_of_its_range_is_refused(name):
    with pytest.raises(UsageError, match=f"^{name} is {BAD[name]!r}, expected "):
        Settings(**{name: BAD[name]})


@pytest.mark.parametrize("lr", [math.nan, math.inf, -1.0])
def test_no_learning_rate_is_nonsense(lr):
    with pytest.raises(UsageError, match="lr is"):
        Settings(lr=lr)


def test_the_warmup_is_a_tenth_of_all_steps_and_at_most_a_hundred():
    rates = [Settings(steps=n, schedule="constant").learning_rate(1) for n in (5, 50, 500, 5000)]
    assert rates == pytest.approx([1e-3, 2e-4, 2e-5, 1e-5])


def test_every_setting_is_used():
    """A field that nobody reads would be a promise that nobody keeps."""
    from conftest import ROOT

    source = "".join(p.read_text() for p in (ROOT / "tinyllm" / "training").glob("*.py"))
    for field in dataclasses.fields(Settings):
        assert f"settings.{field.name}" in source or f"self.{field.name}" in source, field.name


# Windows


def test_windows_of_an_epoch_are_all_there_is_once():
    tokens = np.arange(53)
    windows = Windows(tokens, 5, seed=3)
    rows, targets, position = windows.batch((0, 0), 9)
    assert rows.shape == targets.shape == (9, 5)
    np.testing.assert_array_equal(targets, rows + 1)
    starts = sorted(rows[:, 0].tolist())
    assert position in {(0, 9), (1, 0)}
    assert np.diff(starts).tolist() == [5] * 8
    assert starts != rows[:, 0].tolist(), "the order is that of the data"


def test_a_batch_goes_on_into_the_next_epoch_in_another_order():
    windows = Windows(np.arange(53), 5, seed=3)
    per_epoch = (53 - 1 - min(windows._order(0))) // 5
    together, _, position = windows.batch((0, 0), 4 * per_epoch)
    apart, place = [], (0, 0)
    while len(apart) < 4 * per_epoch:
        rows, _, place = Windows(np.arange(53), 5, seed=3).batch(place, 1)
        apart.append(rows[0])
    np.testing.assert_array_equal(together, apart)
    assert position == place
    orders = [windows._order(epoch).tolist() for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 4
    assert len({order[0] % 5 for order in orders}) > 1, "all epochs start at the same token"


def test_windows_depend_on_the_seed():
    a, b = (Windows(np.arange(500), 5, seed=seed).batch((0, 0), 9)[0] for seed in (0, 1))
    assert not np.array_equal(a, b)


@pytest.mark.parametrize("length", [6, 7, 10, 11])
def test_few_tokens_are_one_window_or_two(length):
    windows = Windows(np.arange(length), 5)
    for epoch in range(20):
        order = windows._order(epoch)
        assert 1 <= len(order) <= (length - 1) // 5
        assert all(0 <= start <= length - 6 for start in order)


def test_too_few_tokens_for_a_window_are_refused():
    with pytest.raises(UsageError, match="5 tokens, and one window of seq_len 5 takes 6"):
        Windows(np.arange(5), 5)
    with pytest.raises(UsageError, match="seq_len is 0"):
        Windows(np.arange(5), 0)


def test_a_real_text_is_learnt_from():
    """Tiny Shakespeare, a few steps: far below what who guesses among 128 has, 4.85."""
    content = data("corpora/tinyshakespeare/input.txt").read_bytes()[:200_000]
    config = tiny_config(
        vocab_size=128, d_model=32, d_ff=64, n_heads=2, n_kv_heads=2, head_dim=16, n_layers=1,
        max_seq_len=32,
    )  # fmt: skip
    trainer = tiny_trainer(
        config=config, tokens=np.frombuffer(content, np.uint8), steps=25, seq_len=32, batch_size=8,
        lr=0.03, eval_every=0,
    )  # fmt: skip
    assert list(trainer)[-1].val_loss < 3.6
