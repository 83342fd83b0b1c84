"""tinyllm.training.precision and loss_scale: products of 16 bits, and all else in float32."""

import json

import numpy as np
import pytest
from safetensors import safe_open

import tinyllm_numpy
from emulator import cupy_stand_in
from emulator.module import COMPILER
from tiny import tiny_config
from tiny_recurrent import tiny_recurrent
from tinyllm.adaptation.lora import Adapted, Lora, init_adapters
from tinyllm.errors import CheckpointError, UsageError
from tinyllm.models.architecture import architecture
from tinyllm.models.examples import EXAMPLES, example_config, random_params
from tinyllm.models.init import init_params
from tinyllm.models.recurrent_config import CELLS
from tinyllm.ops.low_rank import low_rank_backward, low_rank_forward
from tinyllm.params import nest
from tinyllm.training import loss_scale as scaling
from tinyllm.training.divergence import DivergedError
from tinyllm.training.gradients import batch_gradients
from tinyllm.training.loss_scale import LossScale
from tinyllm.training.precision import NARROW, MixedPrecision, mixed_precision
from tinyllm.training.snapshot import restore_latest, save_snapshot
from tinyllm.training.trainer import Trainer
from training.tiny_run import CONFIG, assert_equal, host, tiny_trainer

HALVES = tuple(NARROW)
EPS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


@pytest.mark.parametrize("precision", HALVES)
def test_a_model_comes_to_nearly_the_loss_of_float32(precision):
    """And not to the same, for its products were rounded."""
    options = {"steps": 30, "lr": 0.03, "eval_every": 30}
    *_, wide = tiny_trainer(**options)
    *_, narrow = tiny_trainer(precision=precision, **options)
    assert wide.val_loss < 0.5
    assert narrow.val_loss == pytest.approx(wide.val_loss, rel=0.02)
    assert narrow.val_loss != wide.val_loss


@pytest.mark.parametrize("precision", HALVES)
def test_matrices_are_copied_to_16_bits_and_what_is_trained_stays_in_float32(precision):
    trainer = tiny_trainer(precision=precision)
    trainer.advance()
    copies = trainer.mixed.copies(trainer.params)
    for name, p in trainer.params.items():
        assert p.dtype == np.float32
        assert copies[name].dtype == (NARROW[precision] if p.ndim == 2 else np.float32), name
    assert any((copies[n] != p).any() for n, p in trainer.params.items() if p.ndim == 2)
    assert all(x.dtype == np.float32 for key in "mv" for x in trainer.state[key].values())
    found, _ = trainer._gradients(2, None)
    assert {x.dtype for x in found.grads.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("precision", HALVES)
def test_gradients_are_those_of_float32_but_for_rounding(precision):
    config = tiny_config(n_heads=2, n_kv_heads=1, max_seq_len=8)
    params = init_params(config, np.random.default_rng(0))
    tokens = np.random.default_rng(1).integers(0, config.vocab_size, (3, 6))
    mixed = mixed_precision(tinyllm_numpy, config, params, precision)
    wide = batch_gradients(tinyllm_numpy, config, nest(params), tokens, tokens)
    narrow = batch_gradients(mixed, config, nest(mixed.copies(params)), tokens, tokens)
    scaled = batch_gradients(
        mixed, config, nest(mixed.copies(params)), tokens, tokens, loss_scale=2.0**6
    )
    for name, g in wide.grads.items():
        error = np.linalg.norm(narrow.grads[name] - g) / np.linalg.norm(g)
        assert 0 < error < 8 * EPS[precision], name
        error = np.linalg.norm(scaled.grads[name] / 2**6 - g) / np.linalg.norm(g)
        assert error < 8 * EPS[precision], name


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n not in CELLS])
def test_every_kind_of_model_has_gradients_near_those_of_float32(name):
    """And none of them is lost: each parameter's has a direction, to a rounding or two."""
    config = example_config(name)
    params = random_params(config, np.random.default_rng(0))
    params = {key: p.astype(np.float32) for key, p in params.items()}
    tokens = np.random.default_rng(1).integers(0, config.vocab_size, (2, 5))
    mixed = MixedPrecision(tinyllm_numpy, NARROW["float16"])
    wide = batch_gradients(tinyllm_numpy, config, nest(params), tokens, tokens)
    narrow = batch_gradients(mixed, config, nest(mixed.copies(params)), tokens, tokens)
    assert narrow.grads.keys() == wide.grads.keys() == params.keys()
    assert narrow.loss_sum == pytest.approx(wide.loss_sum, rel=0.01)
    for key, g in wide.grads.items():
        assert narrow.grads[key].dtype == np.float32, key
        error = np.linalg.norm(narrow.grads[key] - g)
        assert error < 0.1 * np.linalg.norm(g) + 1e-3 * np.linalg.norm(params[key]), key


def test_added_tables_and_routers_are_not_rounded():
    """BERT's types, Marian's and BART's bias, positions; and a router would choose others."""
    mixed = MixedPrecision(tinyllm_numpy, NARROW["bfloat16"])
    wide = set()
    for name in (n for n in EXAMPLES if n not in CELLS):
        copies = mixed.copies(random_params(example_config(name), np.random.default_rng(0)))
        wide |= {n.split(".")[-2] if "." in n else n for n, p in copies.items()
                 if p.ndim == 2 and p.dtype != NARROW["bfloat16"]}  # fmt: skip
    assert wide == {"embed_positions", "embed_types", "model", "gate"}  # model.final_logits_bias


def test_a_product_with_a_router_is_of_float32():
    mixed = MixedPrecision(tinyllm_numpy, NARROW["bfloat16"])
    x, router = np.random.default_rng(0).standard_normal((2, 8, 8)).astype(np.float32)
    assert (mixed.linear(x, router) == tinyllm_numpy.linear(x, router)).all()
    narrow = router.astype(NARROW["bfloat16"])
    assert (mixed.linear(x, narrow) != tinyllm_numpy.linear(x, narrow)).any()


def adapted_gradients(xp, precision):
    """Gradients of LoRA's adapters: on the host."""
    config = tiny_config(max_seq_len=8)
    lora, rng = Lora(rank=2, alpha=4.0), np.random.default_rng(0)
    base = {n: xp.asarray(p) for n, p in init_params(config, rng).items()}
    shapes = init_adapters(config, lora, rng, np.float32)
    adapters = {
        n: xp.asarray(0.1 * rng.standard_normal(p.shape).astype(np.float32))
        for n, p in shapes.items()
    }
    tokens = rng.integers(0, config.vocab_size, (3, 6))
    if precision is not None:
        xp = MixedPrecision(xp, NARROW[precision])
        adapters = xp.copies(adapters)
    tree = Adapted(config=config, base=base, lora=lora).tree(adapters)
    found = batch_gradients(xp, config, tree, tokens, tokens)
    return {n: np.asarray(xp.to_numpy(found.grads[n])) for n in adapters}


@pytest.mark.parametrize("precision", HALVES)
def test_adapters_have_gradients_near_those_of_float32(precision):
    wide = adapted_gradients(tinyllm_numpy, None)
    narrow = adapted_gradients(tinyllm_numpy, precision)
    for name, g in wide.items():
        assert narrow[name].dtype == np.float32
        assert 0 < np.linalg.norm(narrow[name] - g) < 16 * EPS[precision] * np.linalg.norm(g), name


def test_a_map_of_low_rank_is_multiplied_in_16_bits_on_the_way_back_too():
    """Each factor of each product: a gradient is what its rounded factors give."""
    rng = np.random.default_rng(0)
    x, a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 5), (2, 5), (3, 2)))
    dtype = NARROW["bfloat16"]
    mixed = MixedPrecision(tinyllm_numpy, dtype)

    def rounded(y):
        return y.astype(dtype).astype(np.float32)

    y, saved = low_rank_forward(mixed, x, *(w.astype(dtype) for w in (a, b)))
    dx, da, db = low_rank_backward(mixed, y, saved)
    short, dy = rounded(rounded(x) @ rounded(a).T), rounded(y)
    dshort = rounded(dy @ rounded(b))
    for found, wanted in (
        (dx, dshort @ rounded(a)),
        (da, dshort.T @ rounded(x)),
        (db, dy.T @ short),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
@pytest.mark.parametrize("precision", HALVES)
def test_a_backend_that_multiplies_16_bits_adapts_the_same(precision):
    ours = adapted_gradients(cupy_stand_in.load(), precision)
    for name, g in adapted_gradients(tinyllm_numpy, precision).items():
        assert ours[name].dtype == np.float32
        assert np.linalg.norm(ours[name] - g) < 8 * EPS[precision] * np.linalg.norm(g), name


@pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
@pytest.mark.parametrize("precision", HALVES)
def test_a_backend_that_multiplies_16_bits_takes_the_same_steps(precision):
    ours = tiny_trainer(cupy_stand_in.load(), precision=precision, steps=3)
    numpys = tiny_trainer(precision=precision, steps=3)
    for a, b in zip(ours, numpys):
        assert a.loss == pytest.approx(b.loss, rel=EPS[precision])
    assert all(p.dtype == np.float32 for p in host(ours).values())


class TestLossScale:
    def test_it_doubles_after_good_steps_and_halves_after_a_bad_one(self, monkeypatch):
        monkeypatch.setattr(scaling, "STEPS", 3)
        scale, seen = LossScale(), []
        for finite in (True, True, False, True, True, True, True):
            scale.update(finite=finite)
            seen.append((scale.scale, scale.good))
        assert seen == [
            (1024, 1), (1024, 2), (512, 0), (512, 1), (512, 2), (1024, 0), (1024, 1)
        ]  # fmt: skip

    def test_it_has_ends(self, monkeypatch):
        monkeypatch.setattr(scaling, "STEPS", 1)
        scale = LossScale(scale=scaling.MOST)
        scale.update(finite=True)
        assert scale.scale == scaling.MOST
        scale = LossScale(scale=2 * scaling.LEAST)
        assert scale.can_fall
        scale.update(finite=False)
        assert (scale.scale, scale.can_fall) == (scaling.LEAST, False)

    def test_what_is_lost_in_float16_is_there_with_a_scale(self):
        """Gradients of 1e-9 are 0 in float16, whose least number is 6e-8."""
        mixed = mixed_precision(tinyllm_numpy, CONFIG, {}, "float16")
        dy, x = np.full((2, 3), 1e-9, np.float32), np.ones((2, 3), np.float32)
        assert not mixed.matmul(dy.T, x).any()
        found = mixed.matmul((2.0**20 * dy).T, x) / 2**20
        np.testing.assert_allclose(found, dy.T @ x, rtol=1e-3)


def overflowing(trainer):
    """Give a trainer a scale whose gradients float16 cannot hold."""
    trainer.loss_scale.scale = scaling.MOST
    return trainer


def test_a_skipped_step_leaves_all_unchanged():
    trainer = tiny_trainer(precision="float16", average="ema")
    trainer.advance()
    overflowing(trainer)
    params, average = host(trainer), dict(trainer.average["params"])
    moments = {key: {n: x.copy() for n, x in trainer.state[key].items()} for key in "mv"}
    report = trainer.advance()
    assert (report.step, report.grad_norm, report.loss_scale) == (2, None, scaling.MOST)
    assert np.isfinite(report.loss)
    assert_equal(host(trainer), params)
    assert_equal(trainer.average["params"], average)
    for key, before in moments.items():
        assert_equal(trainer.state[key], before)
    assert (trainer.state["step"], trainer.average["count"]) == (1, 1)
    assert (trainer.loss_scale.scale, trainer.loss_scale.good) == (scaling.MOST / 2, 0)
    assert (trainer.step, trainer.position) == (2, (0, 6))  # the batch was taken
    while trainer.advance().grad_norm is None:
        trainer.settings = tiny_trainer(steps=100, precision="float16").settings
    assert trainer.state["step"] == 2
    assert (host(trainer)["lm_head.weight"] != params["lm_head.weight"]).any()


def test_a_gradient_that_no_scale_makes_finite_ends_the_run(monkeypatch):
    trainer, seen = tiny_trainer(precision="float16", steps=100), []
    monkeypatch.setattr("tinyllm.training.trainer.global_norm", lambda *_: np.inf)
    with pytest.raises(DivergedError, match="the gradient is inf long"):
        seen.extend(report.loss_scale for report in trainer)
    assert seen == [2.0**i for i in range(10, -8, -1)]


def test_in_bfloat16_nothing_is_skipped():
    trainer = tiny_trainer(precision="bfloat16")
    assert trainer.loss_scale is None
    assert trainer.advance().loss_scale is None


def test_a_run_in_two_parts_keeps_the_scale_and_every_bit(tmp_path):
    whole = overflowing(tiny_trainer(precision="float16", steps=30))
    first = overflowing(tiny_trainer(precision="float16", steps=30))
    for _ in range(17):  # of which the first ones are skipped
        first.advance()
    assert 0 < first.state["step"] < 17
    save_snapshot(first, tmp_path, data="x")
    second = tiny_trainer(precision="float16", steps=30)
    restore_latest(second, tmp_path, data="x")
    assert second.loss_scale == first.loss_scale
    assert second.state["step"] == first.state["step"]
    list(second)
    list(whole)
    assert second.loss_scale == whole.loss_scale
    assert_equal(host(second), host(whole))
    assert_equal(second.state["v"], whole.state["v"])


@pytest.mark.parametrize("damage", [{"scale": 0.0}, {"good": -1}, {"scale": "x"}, {"more": 1}])
def test_a_snapshot_with_another_scale_than_any_is_refused(damage, tmp_path):
    trainer = tiny_trainer(precision="float16")
    path = save_snapshot(trainer, tmp_path, data="x")
    with safe_open(path, framework="np") as file:
        facts = json.loads(file.metadata()["tinyllm.training"])
    raw = path.read_bytes()
    told = json.dumps(facts["loss_scale"] | damage, sort_keys=True)
    old = json.dumps(facts["loss_scale"], sort_keys=True)
    header = int.from_bytes(raw[:8], "little")
    text = raw[8 : 8 + header].rstrip(b" ").replace(
        json.dumps(old)[1:-1].encode(), json.dumps(told)[1:-1].encode()
    )  # fmt: skip
    text = text.ljust(-(-len(text) // 8) * 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + header :])
    with pytest.warns(UserWarning, match="is no training checkpoint"), pytest.raises(
        CheckpointError, match="none that can be read"
    ):  # fmt: skip
        restore_latest(trainer, tmp_path, data="x")


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(UsageError, match="precision is 'float8', expected one of float32, bfl"):
        tiny_trainer(precision="float8")
    with pytest.raises(UsageError, match="and these are float64"):
        tiny_trainer(precision="bfloat16", dtype=np.float64)
    with pytest.raises(UsageError, match="T5's activations do not: bfloat16"):
        mixed_precision(tinyllm_numpy, example_config("t5"), {}, "float16")
    config = tiny_recurrent()
    params = architecture(config).init_params(config, np.random.default_rng(0), np.float32)
    settings = tiny_trainer(precision="bfloat16").settings
    with pytest.raises(UsageError, match="for transformers, and this model is recurrent"):
        Trainer(tinyllm_numpy, config, params, None, settings)
