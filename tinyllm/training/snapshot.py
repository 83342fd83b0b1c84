"""A trainer as one file: everything that the next step depends on.

The tensors are the weights, what the optimiser remembers of them and their average; the rest stands
in the file's metadata, as JSON. One file is either old or new, so a snapshot can never be half of
one and half of another; and equal trainers give equal bytes.
"""

import json
import math
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from tinyllm import __version__
from tinyllm.backend import Params
from tinyllm.checkpoints import check_plan, read_tensors, write_tensors
from tinyllm.errors import CheckpointError
from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import Config, architecture, understand
from tinyllm.shown import plain, shown
from tinyllm.training.loss_scale import LossScale
from tinyllm.training.optimizers import OPTIMIZERS
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer

KEY, FORMAT = "tinyllm.training", 1
MAY_CHANGE = ("steps", "eval_every", "eval_windows", "save_every", "patience")  # when going on
DEFAULTS = Settings().as_dict()
KEEP = 2  # snapshots


def snapshot_path(folder: Path, step: int) -> Path:
    """Return the file of a step: by name in the order of the steps."""
    return folder / f"step-{step:08d}.safetensors"


def save_snapshot(trainer: Trainer, folder: Path, *, data: str) -> Path:
    """Write a trainer into `folder`, then remove all but the last KEEP snapshots there.

    `data` tells what it is trained on: a hash. Raises CheckpointError where the disk refuses; what
    was there before is then still there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{plain(folder)}: cannot be made: {error}") from error
    path = snapshot_path(folder, trainer.step)
    tensors = {name: np.asarray(trainer.xp.to_numpy(x)) for name, x in _tensors(trainer).items()}
    write_tensors(path, tensors, {KEY: json.dumps(_facts(trainer, data), sort_keys=True)})
    for old in snapshots(folder)[KEEP:]:
        old.unlink(missing_ok=True)
    for left_behind in folder.glob("*.tmp"):  # by a process that was killed
        left_behind.unlink(missing_ok=True)
    return path


def snapshots(folder: Path) -> list[Path]:
    """Return the snapshots in a folder, the latest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def restore_latest(trainer: Trainer, folder: Path, *, data: str) -> Path:
    """Bring a new trainer to where the latest snapshot in `folder` was that can be read.

    Warns of one that is damaged. Raises CheckpointError where there is none, or it is of another
    run: of another model, with other settings or data.
    """
    path, tensors, facts = _latest(folder)
    _check(trainer, facts, data, path)
    _restore(trainer, tensors, facts, path)
    return path


def saved_config(folder: Path) -> Config:
    """Return the config of the model in the latest snapshot that can be read.

    Raises CheckpointError where there is none.
    """
    path, _, facts = _latest(folder)
    return understand(KeyReader(facts["config"], plain(path)))


def _latest(folder: Path) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]]:
    """Open the latest snapshot that can be read; warn of others."""
    found = snapshots(folder)
    for path in found:
        try:
            return path, *_read(path)
        except CheckpointError as error:
            reason = str(error).partition(": the download is incomplete")[0]  # it was none
            message = f"{reason}; looking for an older one"
            warnings.warn(message, stacklevel=1)  # from one place: whoever asks, it is told once
    what = "has none that can be read" if found else "has none: the run ended before its first"
    raise CheckpointError(
        f"{plain(folder)}: {what}; expected a training checkpoint to go on from: start the run "
        f"anew, without --resume"
    )


def _tensors(trainer: Trainer) -> Params:
    """Return all arrays by name: params.x, m.x, average.x …"""
    groups = {"params": trainer.params}
    groups |= {key: trainer.state[key] for key in OPTIMIZERS[trainer.settings.optimizer].buffers}
    if trainer.average is not None:
        groups["average"] = trainer.average["params"]
    return {f"{group}.{name}": x for group, arrays in groups.items() for name, x in arrays.items()}


def _facts(trainer: Trainer, data: str) -> dict[str, Any]:
    """Return all else; the seed among the settings is all there is of random numbers."""
    dtype = str(next(iter(trainer.params.values())).dtype)
    return {
        "format": FORMAT,
        "tinyllm": __version__,
        "step": trainer.step,
        "tokens": trainer.tokens,
        "position": list(trainer.position),
        "best": trainer.best if math.isfinite(trainer.best) else None,
        "since_best": trainer.since_best,
        "updates": trainer.state["step"],
        "loss_scale": None if trainer.loss_scale is None else asdict(trainer.loss_scale),
        "averaged": 0 if trainer.average is None else trainer.average["count"],
        "settings": trainer.settings.as_dict(),
        "config": architecture(trainer.config).write_config(trainer.config, dtype),
        "data": data,
        "task": trainer.facts,
    }


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    tensors = read_tensors(path)
    with safe_open(path, framework="np") as file:
        text = (file.metadata() or {}).get(KEY)
    try:
        facts = json.loads(text or "")
        if facts["format"] != FORMAT:
            raise CheckpointError(
                f"{plain(path)}: is a training checkpoint of format {shown(facts['format'])}, and "
                f"this tinyllm {__version__} reads {FORMAT}: use the version that wrote it"
            )
        facts = {"updates": facts["step"], "loss_scale": None} | facts  # of older versions
        if facts["loss_scale"] is not None:
            facts["loss_scale"] = LossScale(**facts["loss_scale"])
        epoch, seen = facts["position"]
        numbers = (
            epoch,
            seen,
            *(facts[key] for key in ("step", "tokens", "since_best", "averaged", "updates")),
        )
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("a count is no whole number")
        objects = [facts["settings"], facts["config"], facts.get("task", {})]
        if not all(type(value) is dict for value in objects):
            raise ValueError("settings, config or task is no object")
        facts["best"] = math.inf if facts["best"] is None else float(facts["best"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{plain(path)}: is no training checkpoint: {error!r}") from error
    return tensors, facts


def _check(trainer: Trainer, facts: dict[str, Any], data: str, path: Path) -> None:
    """Refuse a snapshot of another run, naming what differs."""
    own = json.loads(json.dumps(_facts(trainer, data)))
    facts = {"task": {}} | facts  # which may be older than what is told there, or than a setting
    facts |= {"settings": DEFAULTS | facts["settings"]}
    for kind in ("config", "settings", "task"):
        theirs = facts[kind]
        for key in sorted(own[kind].keys() | theirs.keys()):
            if key in MAY_CHANGE and kind == "settings":
                continue
            if own[kind].get(key) != theirs.get(key):
                before, now = shown(theirs.get(key)), shown(own[kind].get(key))
                raise CheckpointError(
                    f"{plain(path)}: was written with {key} {before}, and now it is {now}: go on "
                    f"with the former, or start in a new folder"
                )
    if facts["data"] != data:
        before, now = shown(str(facts["data"])[:8]), shown(data[:8])
        raise CheckpointError(
            f"{plain(path)}: the data have changed since: their hash began with {before} and does "
            f"with {now}; go on with the former data, or start in a new folder"
        )


def _restore(
    trainer: Trainer, tensors: dict[str, np.ndarray], facts: dict[str, Any], path: Path
) -> None:
    trainer.average = {"count": facts["averaged"], "params": {}} if facts["averaged"] else None
    if trainer.average is not None:
        trainer.average["params"] = dict(trainer.params)
    expected = _tensors(trainer)
    check_plan({name: tuple(x.shape) for name, x in expected.items()}, tensors, plain(path))
    for name, x in expected.items():
        if tensors[name].dtype != trainer.xp.to_numpy(x).dtype:
            raise CheckpointError(f"{plain(path)}: {name} is {tensors[name].dtype}, not {x.dtype}")

    def group(prefix: str) -> Params:
        return {
            name: trainer.xp.asarray(np.array(tensors[f"{prefix}.{name}"]))  # the file is read-only
            for name in trainer.params
        }

    trainer.params = group("params")
    for key in OPTIMIZERS[trainer.settings.optimizer].buffers:
        trainer.state[key] = group(key)
    if trainer.average is not None:
        trainer.average["params"] = group("average")
    epoch, seen = facts["position"]
    trainer.step, trainer.tokens, trainer.position = facts["step"], facts["tokens"], (epoch, seen)
    trainer.state["step"] = facts["updates"]  # fewer than steps, where some were skipped
    trainer.loss_scale = facts["loss_scale"]
    trainer.best, trainer.since_best = facts["best"], facts["since_best"]
