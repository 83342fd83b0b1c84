"""A run of training at the command line, whatever is trained: what train and distill share.

def subject(args, out, messages) -> Subject: …        which model, what of it, by what loss
run(args, messages, subject, command="train")
"""

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli import interrupts
from tinyllm.cli.arguments import add_backend, whole
from tinyllm.cli.between_steps import signals_wait
from tinyllm.cli.progress import Progress, duration
from tinyllm.cli.terminal import Messages, is_terminal
from tinyllm.cli.training import fill_in, recall, remember, settings_of
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.backend import Params
    from tinyllm.cli.training_data import Learning
    from tinyllm.models.architecture import Config
    from tinyllm.tokenizers import Tokenizer
    from tinyllm.training.losses import Loss
    from tinyllm.training.parts import Parts
    from tinyllm.training.trainer import Report, Trainer

EVERY = 10.0  # seconds between two lines where nobody watches


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is trained: the arguments of a `Trainer`, a tokenizer, and what else ends a text.

    `before` runs before the first step, and returns the loss to train by.
    """

    config: "Config"
    params: "Params"
    tokenizer: "Tokenizer | None"
    eos_ids: Collection[int] = ()  # beside those of the config; a run that goes on has its own
    parts: "Parts | None" = None  # all of the model
    loss: "Loss | None" = None  # the cross-entropy
    facts: dict[str, Any] = field(default_factory=dict)
    teacher: "tuple[Config, Params] | None" = None  # whose states the loss keeps, too
    before: "Callable[[Learning], Loss] | None" = None


def run(
    args: argparse.Namespace,
    messages: Messages,
    subject: Callable[[argparse.Namespace, Path, Messages], Subject],
    *,
    command: str,
) -> int:
    """Make the trainer that the flags describe, and let it take its steps."""
    from tinyllm.training.run import claimed

    resume = args.resume is not None
    out = folder_of(args)
    if resume:
        recall(args, out)
    fill_in(args)
    if args.until is not None and args.until < 1:
        raise UsageError(f"until is {args.until}, expected at least 1")
    settings_of(args)  # what is out of range shows before anything is read
    if args.data is None:
        raise UsageError("there is nothing to learn from: give a text with --data")
    if not 0 <= args.val_fraction < 1:
        raise UsageError(f"val_fraction is {args.val_fraction}, expected at least 0 and below 1")
    with claimed(out, resume=resume, say=messages.note):
        about = subject(args, out, messages)
        trainer, learning = _prepare(about, args, out, messages)
        if not resume:
            remember(args, out)
        start = time.monotonic()
        try:
            if about.before is not None:
                trainer.loss = about.before(learning)
            last = take_steps(
                trainer, out, about.tokenizer, learning.digest, messages, eos_ids=about.eos_ids,
                resume=(resume and about.before is None) or has_begun(out), until=args.until,
            )  # fmt: skip
        except (KeyboardInterrupt, interrupts.Terminated):
            messages.say(f"stopped after step {trainer.step}; {_go_on(out, command)}")
            raise
    _say_end(trainer, last, (out, command), time.monotonic() - start, args, messages)
    return 0


def has_begun(out: Path) -> bool:
    """Whether there is a snapshot in a run's folder."""
    from tinyllm.training.run import CHECKPOINTS
    from tinyllm.training.snapshot import snapshots

    return bool(snapshots(out / CHECKPOINTS))


def folder_of(args: argparse.Namespace) -> Path:
    """Return the run's folder, which --resume names, or --out."""
    named = args.resume or args.out
    if not named:
        raise UsageError("there is nowhere to write the model: give a folder with --out")
    if args.resume and args.out and Path(args.resume) != Path(args.out):
        raise UsageError("--resume and --out name two folders; one run has one")
    return Path(named)


def _prepare(
    subject: Subject, args: argparse.Namespace, out: Path, messages: Messages
) -> "tuple[Trainer, Learning]":
    """Read the data: return a trainer, and what it learns from."""
    from tinyllm.backend import get_backend
    from tinyllm.cli.training_data import read_data
    from tinyllm.training.losses import next_token_loss
    from tinyllm.training.memory import check_training_memory
    from tinyllm.training.parts import WHOLE
    from tinyllm.training.trainer import Trainer

    settings, config, params = settings_of(args), subject.config, subject.params
    if settings.seq_len > config.max_seq_len:
        raise UsageError(
            f"seq_len is {settings.seq_len}, and the model's longest text {config.max_seq_len} "
            f"tokens: give a smaller --seq-len, or a new model a larger --context"
        )
    learning = read_data(args, config, subject.tokenizer, out, messages)
    xp = get_backend(args.backend)
    if subject.parts is None and not args.force:  # a part takes less than what is estimated
        check_training_memory(xp, config, params, settings, teacher=subject.teacher)
    trainer = Trainer(
        xp, config, params, learning.data, settings, validation=learning.held_out,
        parts=subject.parts or WHOLE, loss=subject.loss or next_token_loss, facts=subject.facts,
    )  # fmt: skip
    messages.note(
        f"{sum(p.size for p in params.values()):,} parameters · {learning.summary} · who guesses "
        f"among {config.vocab_size:,} has a loss of {math.log(config.vocab_size):.4f}"
    )
    return trainer, learning


def take_steps(
    trainer: "Trainer",
    out: Path,
    tokenizer: "Tokenizer | None",
    data: str,
    messages: Messages,
    *,
    resume: bool,
    eos_ids: Collection[int] = (),
    until: int | None = None,
) -> "Report | None":
    """Take all steps, or those up to `until`, in a folder; return the last report."""
    from tinyllm.training.run import steps_in_folder

    steps = steps_in_folder(
        out, trainer, data=data, tokenizer=tokenizer, eos_ids=eos_ids, resume=resume, until=until,
        say=messages.note,
    )  # fmt: skip
    return _take(steps, trainer, messages)


def _take(steps: Iterator[Any], trainer: "Trainer", messages: Messages) -> "Report | None":
    """Take all steps, saying how it goes; return the last report."""
    progress, report = Progress(trainer.settings.steps), None
    before = said = time.monotonic()
    evaluated = trainer.evaluation_seconds
    with closing(steps), signals_wait(quiet=messages.quiet) as let_signals_act:  # type: ignore[type-var]
        for report in steps:
            now = time.monotonic()
            apart = trainer.evaluation_seconds - evaluated
            line = progress.line(report, now - before - apart, trainer.evaluation_seconds)
            before, evaluated = now, trainer.evaluation_seconds
            if is_terminal(sys.stderr) and report.val_loss is None:
                messages.status(line)
            elif report.val_loss is not None or report.step == 1 or now - said > EVERY:
                messages.note(line)
                said = now
            let_signals_act()
    return report


def _say_end(
    trainer: "Trainer",
    report: "Report | None",
    where: tuple[Path, str],
    seconds: float,
    args: argparse.Namespace,
    messages: Messages,
) -> None:
    """Say what has come out, to people or, with --json, to programs."""
    from tinyllm.models.architecture import architecture

    out, command = where
    if args.json:
        said = {
            "out": str(out),
            "step": trainer.step,
            "loss": None if report is None else report.loss,
            "val_loss": None if report is None else report.val_loss,
            "best_val_loss": trainer.best if math.isfinite(trainer.best) else None,
            "tokens": trainer.tokens,
            "seconds": round(seconds, 3),
        }
        sys.stdout.write(json.dumps(said) + "\n")
    if report is None and not trainer.done:
        messages.note(f"step {trainer.step} was taken before; {_go_on(out, command)}")
    elif report is None:
        messages.note(f"all {trainer.step} steps were taken before; more --steps would go on")
    else:
        early = trainer.done and trainer.step < trainer.settings.steps
        use = architecture(trainer.config).use.replace("-", "_")
        then = f"python -m tinyllm.{use} --model {shlex.quote(str(out))} PROMPT"
        messages.note(
            f"{trainer.step} steps{', the loss fell no more' if early else ''}, "
            f"{duration(seconds)}; {then if trainer.done else _go_on(out, command)}"
        )


def _go_on(out: Path, command: str) -> str:
    return f"go on with: python -m tinyllm.{command} --resume {shlex.quote(str(out))}"


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add where a run goes, and how it goes on."""
    group = parser.add_argument_group("run")
    add = group.add_argument
    add("--out", "-o", metavar="FOLDER", help="where to write")
    add(
        "--resume", nargs="?", const="", metavar="FOLDER",
        help="go on with the run in this folder, or in --out, with the flags it began with",
    )  # fmt: skip
    add(
        "--until", type=whole, metavar="N",
        help="stop after step N, to go on with --resume at another time",
    )  # fmt: skip
    add_backend(group)
    add("--dtype", choices=["float32", "float64"], help="what to compute with (default: float32)")
    add(
        "--force", action="store_true",
        help="train a model that takes more memory than there is",
    )  # fmt: skip
    add("--json", action="store_true", help="print what has come out as one JSON object")
