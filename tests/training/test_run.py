"""tinyllm.training.run, snapshot, metrics and lock: what is on the disk, whatever happens"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tinyllm
from cli.commands import environment
from conftest import ROOT
from tinyllm.checkpoints import read_tensors, write_tensors
from tinyllm.errors import CheckpointError, UsageError
from tinyllm.training.divergence import DivergedError
from tinyllm.training.lock import locked
from tinyllm.training.metrics import metrics_writer, read_metrics, truncate_metrics
from tinyllm.training.run import run_in_folder
from tinyllm.training.snapshot import (
    KEY,
    restore_latest,
    save_snapshot,
    saved_config,
    snapshot_path,
    snapshots,
)
from training.tiny_run import CONFIG, TOKENS, assert_equal, host, tiny_trainer

ALL = {"dropout": 0.2, "average": "ema", "accum": 2}  # what a resumed run could get wrong


def run(out, *, until=None, resume=False, data="data", say=lambda line: None, **changes):
    """Train in a folder, to the end or until a step; return the trainer.

    With `ALL`, there is a second epoch from step 4 on.
    """
    trainer = tiny_trainer(**{"tokens": TOKENS[:140], **changes})
    steps = run_in_folder(out, trainer, data=data, resume=resume, say=say)
    for report in steps:
        if report.step == until:
            steps.close()
    return trainer


def steps_of(out):
    return [row["step"] for row in read_metrics(out / "metrics.jsonl")]


@pytest.mark.parametrize(
    ("optimizer", "until"), [("adamw", 1), ("adamw", 3), ("adamw", 5), ("momentum", 3), ("sgd", 3)]
)
def test_a_run_that_goes_on_is_the_whole_run_to_the_last_bit(tmp_path, optimizer, until):
    whole, parts, options = tmp_path / "whole", tmp_path / "parts", {**ALL, "optimizer": optimizer}
    run(whole, **options)
    run(parts, until=until, **options)
    run(parts, resume=True, **options)
    for name in ("checkpoints/step-00000006.safetensors", "model.safetensors", "config.json"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    rows = [read_metrics(out / "metrics.jsonl") for out in (whole, parts)]
    for row in rows[0] + rows[1]:
        assert row.pop("seconds") > 0
        assert ("val_loss" in row) == (row.pop("evaluation_seconds", 0) > 0)
    assert rows[0] == rows[1]


def test_the_folder_is_a_model_that_loads(tmp_path):
    trainer = run(tmp_path / "out")
    model = tinyllm.load(tmp_path / "out")
    assert model.config == CONFIG
    assert_equal({k: np.asarray(p) for k, p in model.params.items()}, host(trainer))


def test_what_is_left_after_a_run(tmp_path):
    run(tmp_path)
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {
        "checkpoints/step-00000004.safetensors", "checkpoints/step-00000006.safetensors",
        "metrics.jsonl", "model.safetensors", "config.json",
    }  # fmt: skip
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert saved_config(tmp_path / "checkpoints") == CONFIG


def test_what_ends_a_text_is_of_the_run_that_began_last(tmp_path):
    trainer = tiny_trainer()
    next(run_in_folder(tmp_path, trainer, data="data", eos_ids={4, 2}))
    assert tinyllm.load(tmp_path).eos_ids == {2, 4}
    run(tmp_path, resume=True)
    assert tinyllm.load(tmp_path).eos_ids == {2, 4}
    (tmp_path / "run.json").write_text("{}")
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    run(tmp_path)
    assert tinyllm.load(tmp_path).eos_ids == set()


def test_averaged_weights_are_what_is_written(tmp_path):
    trainer = run(tmp_path, average="mean")
    assert_equal(read_tensors(tmp_path / "model.safetensors"), trainer.average["params"])


def test_with_patience_the_best_model_is_written(tmp_path):
    trainer = tiny_trainer(steps=8, patience=9, eval_every=2, lr=0.05)
    losses = iter([2.0, 1.0, 3.0, 4.0])
    trainer.evaluate = lambda: next(losses)
    kept = {}
    for report in run_in_folder(tmp_path, trainer, data="data"):
        kept[report.step] = host(trainer)
    assert_equal(read_tensors(tmp_path / "model.safetensors"), kept[4])


def test_a_run_that_is_done_has_nothing_to_go_on_with(tmp_path):
    run(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    assert run(tmp_path, resume=True).step == 6
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert run(tmp_path, resume=True, steps=8, save_every=0).step == 8
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_steps_after_the_last_checkpoint_are_taken_again(tmp_path):
    """As after a SIGKILL: the metrics are ahead of the checkpoint, and their last line is cut."""
    trainer = tiny_trainer(tokens=TOKENS[:140])
    steps = run_in_folder(tmp_path, trainer, data="data")
    for _ in range(3):
        next(steps)
    trainer.step = 2  # what was saved last, so that closing saves nothing
    steps.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    assert snapshots(tmp_path / "checkpoints")[0].name == "step-00000002.safetensors"
    run(tmp_path, resume=True)
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 6


def test_what_led_astray_is_not_saved(tmp_path):
    trainer, name = tiny_trainer(), "model.layers.1.mlp.up_proj.weight"
    steps = run_in_folder(tmp_path, trainer, data="data")
    for _ in range(3):
        next(steps)
    trainer.params[name] = np.full_like(trainer.params[name], np.nan)
    with pytest.raises(DivergedError) as caught:
        next(steps)
    assert "step 4: the loss is nan: model.layers.1.mlp.up_proj.weight" in str(caught.value)
    assert "has the checkpoint of step 2; a lower --lr" in str(caught.value)
    assert [path.name for path in snapshots(tmp_path / "checkpoints")] == [
        "step-00000002.safetensors"
    ]


def test_a_run_that_goes_astray_at_once_says_that_nothing_is_saved(tmp_path):
    trainer = tiny_trainer()
    trainer.params["model.norm.weight"] = np.full(6, np.nan, np.float32)
    with pytest.raises(DivergedError, match="nothing was saved yet"):
        list(run_in_folder(tmp_path, trainer, data="data"))


# Another run


OTHERS = {
    "lr": (0.02, "lr 0.01, and now it is 0.02"),
    "seed": (7, "seed 0, and now it is 7"),
    "batch_size": (2, "batch_size 3, and now it is 2"),
    "optimizer": ("sgd", "optimizer 'adamw', and now it is 'sgd'"),
    "dtype": (np.float64, "torch_dtype 'float32', and now it is 'float64'"),
    "data": (
        "other",
        "the data have changed since: their hash began with 'data' and does with 'other'",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_run_is_refused_by_what_differs(tmp_path, name):
    run(tmp_path, until=2)
    value, why = OTHERS[name]
    with pytest.raises(CheckpointError, match=re.escape(why)):
        run(tmp_path, resume=True, **{name: value})
    assert steps_of(tmp_path) == [1, 2]


def test_a_checkpoint_of_another_model_is_refused_by_what_differs(tmp_path):
    from tiny import tiny_config

    run(tmp_path, until=2)
    other = tiny_config(n_heads=2, n_kv_heads=1, max_seq_len=8, d_ff=9)
    with pytest.raises(CheckpointError, match="intermediate_size 7, and now it is 9"):
        run(tmp_path, resume=True, config=other)


def test_a_second_run_does_not_start_where_one_is(tmp_path):
    run(tmp_path, until=2)
    with pytest.raises(UsageError, match="has a run already; --resume goes on"):
        run(tmp_path)
    with pytest.raises(CheckpointError, match=r"has none: the run ended before its first; .* anew"):
        run(tmp_path / "new", resume=True)
    assert run(tmp_path / "new", until=1).step == 1  # refusing left nothing that is in the way


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made"):
        run(tmp_path / "file" / "out")
    trainer = tiny_trainer()
    with pytest.raises(CheckpointError, match="cannot be made"):
        save_snapshot(trainer, tmp_path / "file" / "out", data="")


# Snapshots


def planted(folder, **changes):
    """Write a snapshot of step 2 whose facts or tensors are not as they should be."""
    trainer = tiny_trainer()
    trainer.advance()
    path = save_snapshot(trainer, folder, data="data")
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        facts = json.loads(file.metadata()[KEY])
    tensors = {name: np.array(x) for name, x in read_tensors(path).items()}
    for key, value in changes.items():
        if key == "tensors":
            value(tensors)
        elif value is None:
            del facts[key]
        else:
            facts[key] = value
    write_tensors(path, tensors, {KEY: json.dumps(facts)})
    return path


DAMAGED = {
    "a format of the future": {"format": 99},
    "no step": {"step": None},
    "half a step": {"step": 1.5},
    "a step below zero": {"step": -1},
    "no position": {"position": None},
    "a position of three numbers": {"position": [1, 2, 3]},
    "a position of words": {"position": ["a", "b"]},
    "settings of words": {"settings": "none"},
    "a best that is no number": {"best": [1]},
    "no config": {"config": None},
}
NOT_READ = {
    "a tensor missing": (lambda t: t.pop("m.lm_head.weight"), "m.lm_head.weight"),
    "a tensor too many": (lambda t: t.update(x=np.ones(1)), "x"),
    "a tensor of another shape": (
        lambda t: t.update({"v.model.norm.weight": np.ones(5, np.float32)}), "v.model.norm.weight",
    ),
    "a tensor of another dtype": (
        lambda t: t.update({"v.model.norm.weight": np.ones(6)}), "is float64, not float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_snapshot_is_left_for_an_older_one(tmp_path, what):
    trainer = tiny_trainer()
    save_snapshot(trainer, tmp_path, data="data")
    path = planted(tmp_path, **DAMAGED[what])
    with pytest.warns(UserWarning, match=f"{path.name}.*; looking for an older one"):
        found = restore_latest(tiny_trainer(), tmp_path, data="data")
    assert found.name == "step-00000000.safetensors"
    found.unlink()
    with (
        pytest.warns(UserWarning, match="looking for an older one"),
        pytest.raises(CheckpointError, match="none that can be read"),
    ):
        restore_latest(tiny_trainer(), tmp_path, data="data")


@pytest.mark.parametrize("what", NOT_READ)
def test_a_snapshot_with_the_wrong_tensors_is_refused(tmp_path, what):
    change, why = NOT_READ[what]
    planted(tmp_path, tensors=change)
    with pytest.raises(CheckpointError, match=re.escape(why)):
        restore_latest(tiny_trainer(), tmp_path, data="data")


def test_a_model_is_no_snapshot(tmp_path):
    write_tensors(snapshot_path(tmp_path, 1), {"a": np.ones(1)})
    with (
        pytest.warns(UserWarning, match="is no training checkpoint"),
        pytest.raises(CheckpointError),
    ):
        restore_latest(tiny_trainer(), tmp_path, data="data")


def test_the_last_two_are_kept_and_what_was_left_behind_is_removed(tmp_path):
    trainer = tiny_trainer(steps=200)
    (tmp_path / "step-00000001.safetensors.0a1b2c3d.tmp").touch()
    for step in (1, 9, 10, 99, 100):
        trainer.step = step
        save_snapshot(trainer, tmp_path, data="")
    names = [path.name for path in snapshots(tmp_path)]
    assert names == ["step-00000100.safetensors", "step-00000099.safetensors"]
    assert len(os.listdir(tmp_path)) == 2


# A process that is killed, a disk that is full

SAVE_FOR_EVER = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from training.tiny_run import tiny_trainer
from tinyllm.training.snapshot import save_snapshot
trainer = tiny_trainer(steps=10**6)
while True:
    trainer.step += 1
    trainer.state["step"] = trainer.step
    trainer.params["model.norm.weight"][:] = trainer.step
    save_snapshot(trainer, Path({folder!r}), data="data")
    print("saved", flush=True)
"""


def kill_while_saving(folder, after):
    """Save in a process of its own, and kill it so many seconds after the first time."""
    paths = [str(ROOT), str(ROOT / "backends"), str(ROOT / "tests")]
    code = SAVE_FOR_EVER.format(paths=paths, folder=str(folder))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()
    )
    assert process.stdout.readline() == b"saved\n"
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def assert_newest_loads(folder):
    trainer = tiny_trainer()
    path = restore_latest(trainer, folder, data="data")
    assert path == snapshots(folder)[0]
    assert trainer.step == trainer.state["step"] == int(path.stem[len("step-") :])
    assert (trainer.params["model.norm.weight"] == trainer.step).all()
    return trainer.step


def test_whenever_a_process_is_killed_its_newest_checkpoint_loads(tmp_path):
    kill_while_saving(tmp_path, 0.05)
    assert assert_newest_loads(tmp_path) > 0


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path):
    resource = pytest.importorskip("resource")
    trainer = tiny_trainer()
    trainer.advance()
    old = save_snapshot(trainer, tmp_path, data="data")
    before = old.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    trainer.advance()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
        with pytest.raises(CheckpointError, match=r"cannot be written: .*too large"):
            save_snapshot(trainer, tmp_path, data="data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert snapshots(tmp_path) == [old]
    assert old.read_bytes() == before
    assert os.listdir(tmp_path) == [old.name]


# Metrics


def test_metrics_are_read_without_their_cut_and_foreign_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"step": 1, "loss": 2.0}\nnonsense\n[1]\n{"loss": 1}\n{"step": "2"}\n{"step": NaN}\n'
        + b"\xff\n" + b"[" * 100_000 + b'\n{"step": 2, "loss": 1.0}\n{"step": 3, "lo'
    )  # fmt: skip
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
    truncate_metrics(path, 1)
    assert path.read_bytes() == b'{"step": 1, "loss": 2.0}\n'
    truncate_metrics(tmp_path / "absent", 1)


def test_files_that_are_no_metrics_are_refused(tmp_path):
    (tmp_path / "empty").touch()
    for name, why in {
        "empty": "has no line of metrics",
        "absent": "no such file",
        ".": "is not a",
    }.items():
        with pytest.raises(UsageError, match=why):
            read_metrics(tmp_path / name)


def test_metrics_that_cannot_be_written_are_an_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be written"), metrics_writer(tmp_path):
        pass
    with pytest.raises(UsageError, match="No space left"), metrics_writer("/dev/full") as write:
        write({"step": 1})


# The lock


def test_two_runs_in_one_folder_exclude_each_other(tmp_path):
    first = run_in_folder(tmp_path, tiny_trainer(), data="data")
    next(first)
    with pytest.raises(UsageError, match=f"process {os.getpid()} is training in this folder"):
        run(tmp_path)
    first.close()
    run(tmp_path, resume=True)
    assert not (tmp_path / "run.lock").exists()


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path):
    (tmp_path / "lock").write_text("12345")
    heard = []
    with locked(tmp_path / "lock", heard.append):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert heard == [f"{tmp_path}/lock: process 12345 ended without tidying up; taking over"]
    assert not (tmp_path / "lock").exists()


def test_a_lock_that_its_owner_removes_meanwhile_is_tried_again(tmp_path, monkeypatch):
    from tinyllm.training import lock

    still, asked = lock._is_still, []

    def removed_once(path, file):
        asked.append(path)
        if len(asked) == 1:
            path.unlink()
        return still(path, file)

    monkeypatch.setattr(lock, "_is_still", removed_once)
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert len(asked) == 2


def test_a_lock_that_cannot_be_made_is_an_error_and_a_system_without_locks_has_none(
    tmp_path, monkeypatch
):
    with pytest.raises(UsageError, match="cannot be written"), locked(tmp_path / "no" / "lock"):
        pass
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with locked(tmp_path / "lock"):
        assert not (tmp_path / "lock").exists()


def test_evaluations_are_timed_apart_from_steps(tmp_path, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    run(tmp_path / "out", eval_every=3)
    rows = read_metrics(tmp_path / "out" / "metrics.jsonl")
    assert [row.get("evaluation_seconds") for row in rows] == [None, None, 1, None, None, 1]
    assert [row["seconds"] for row in rows] == [1, 1, 2, 1, 1, 2]  # of two looks at the clock more
