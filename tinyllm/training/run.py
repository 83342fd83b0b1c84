"""A run of training with its files, all in one folder:

checkpoints/step-….safetensors    the last two snapshots, to go on from
metrics.jsonl                     a line for every step
generation_config.json            what ends a text, where a model had such before
model.safetensors, config.json …  the model so far, which `tinyllm.load` and transformers read
"""

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tinyllm.checkpoints import write_checkpoint
from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.errors import TinyllmError, UsageError
from tinyllm.models.architecture import architecture
from tinyllm.models.weights import stored_tensors
from tinyllm.shown import plain
from tinyllm.tokenizers import Tokenizer
from tinyllm.training.divergence import DivergedError
from tinyllm.training.lock import locked
from tinyllm.training.metrics import metrics_writer, truncate_metrics
from tinyllm.training.snapshot import restore_latest, save_snapshot, snapshots
from tinyllm.training.trainer import Report, Trainer

CHECKPOINTS, METRICS, LOCK = "checkpoints", "metrics.jsonl", "run.lock"
RUN = "run.json"  # what a command keeps of a run: its flags
ENDS = "generation_config.json"
REPLACED = (
    "config.json", ENDS, "*.safetensors", "*.safetensors.index.json", "tokenizer.*", METRICS,
)  # fmt: skip
TOKENS = "tokens-*.npy"


def run_in_folder(
    out: Path,
    trainer: Trainer,
    *,
    data: str,
    tokenizer: Tokenizer | None = None,
    eos_ids: Collection[int] = (),
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Report]:
    """Train, and write as it goes on; yield the report of each step.

    `data` is a hash of the data; `eos_ids` end a text, beside those of the config. Whoever closes
    the iterator, or lets go of it, ends the run after the step, and it is saved. After a
    DivergedError it is not: what was saved before is good, and the steps that led there may not be.
    With `resume` a new trainer first goes to where the folder's last snapshot was; without it, a
    folder that has one is refused.

    The model that is written is the last one, or with patience the one with the lowest loss on the
    validation data.

    Raises UsageError and CheckpointError for a folder that does not fit, and DivergedError.
    """
    with claimed(out, resume=resume, say=say):
        yield from steps_in_folder(
            out, trainer, data=data, tokenizer=tokenizer, eos_ids=eos_ids, resume=resume, say=say
        )


@contextmanager
def claimed(
    out: Path, *, resume: bool, say: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Make the folder and lock it for the `with` block; if no run came into it, it goes again.

    Raises UsageError where another process trains there, a run is there that is not resumed, or
    files are that no run of ours has left: it would replace them.
    """
    try:
        made = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise UsageError(f"{plain(out)}: cannot be made: {error}") from error
    try:
        with locked(out / LOCK, say):
            if not resume and snapshots(out / CHECKPOINTS):
                raise UsageError(
                    f"{plain(out)}: has a run already; --resume goes on with it, another --out "
                    f"starts a new one"
                )
            if not resume and not made and not (out / RUN).exists():
                _refuse_others_files(out)
            yield
    except TinyllmError:  # after Ctrl-C, what was made of a long text stays
        if made and not (out / RUN).exists():
            for tokens in out.glob(TOKENS):
                tokens.unlink()
        raise
    finally:
        if made:
            with suppress(OSError):  # it is not empty
                out.rmdir()


def _refuse_others_files(out: Path) -> None:
    found = next((path for name in REPLACED for path in sorted(out.glob(name))), None)
    if found is not None:
        raise UsageError(
            f"{plain(out)}: has {plain(found.name)}, which is of no run and would be replaced; "
            f"give another --out"
        )


def steps_in_folder(
    out: Path,
    trainer: Trainer,
    *,
    data: str,
    tokenizer: Tokenizer | None = None,
    eos_ids: Collection[int] = (),
    resume: bool = False,
    until: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Report]:
    """Do what `run_in_folder` does, in a folder that is claimed already, or the steps `until` one.

    A run that goes on has its `eos_ids` already.
    """
    if resume:
        path = restore_latest(trainer, out / CHECKPOINTS, data=data)
        say(f"going on from step {trainer.step}, {plain(path)}")
    else:
        _write_ends(out, eos_ids)
    truncate_metrics(out / METRICS, trainer.step)
    if tokenizer is not None:
        tokenizer.save(out)
    settings, saved = trainer.settings, trainer.step

    def save() -> None:
        nonlocal saved
        if trainer.step > saved:
            save_snapshot(trainer, out / CHECKPOINTS, data=data)
            if not settings.patience:
                save_model(trainer, out)
            saved = trainer.step

    with metrics_writer(out / METRICS) as write_metrics:
        while not trainer.done and (until is None or trainer.step < until):
            start, evaluated = time.perf_counter(), trainer.evaluation_seconds
            try:
                report = trainer.advance()
            except DivergedError as error:
                raise DivergedError(f"{error}; {_what_is_left(out, saved)}") from error
            row = {key: value for key, value in asdict(report).items() if value is not None}
            apart = trainer.evaluation_seconds - evaluated
            row["seconds"] = round(time.perf_counter() - start - apart, 6)
            write_metrics(row | ({"evaluation_seconds": round(apart, 6)} if apart else {}))
            if settings.patience and trainer.best == report.val_loss:
                save_model(trainer, out)
            if settings.save_every and trainer.step % settings.save_every == 0:
                save()
            try:
                yield report
            except GeneratorExit:  # between two steps; in one, a trainer is not fit to be saved
                save()
                raise
        save()


def _write_ends(out: Path, eos_ids: Collection[int]) -> None:
    """Write what ends a text, over what an earlier run left."""
    if not eos_ids:
        (out / ENDS).unlink(missing_ok=True)
        return
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / ENDS) as file:
        file.write((json.dumps({"eos_token_id": sorted(eos_ids)}, indent=2) + "\n").encode())


def _what_is_left(out: Path, saved: int) -> str:
    """Say what there is after training went astray, and what to do."""
    kept = f"{plain(out)} has the checkpoint of step {saved}" if saved else "nothing was saved yet"
    return f"{kept}; a lower --lr, more --warmup or a smaller --clip may help"


def save_model(trainer: Trainer, folder: Path) -> None:
    """Write the model as it is now: weights and config."""
    params = trainer.parts.model(trainer.xp, trainer.result)
    host = {name: np.asarray(trainer.xp.to_numpy(p)) for name, p in params.items()}
    dtype = str(next(iter(host.values())).dtype)
    values = architecture(trainer.config).write_config(trainer.config, dtype)
    write_checkpoint(folder, values, stored_tensors(host, trainer.config))
    trainer.parts.save(trainer.xp, trainer.result, folder)
