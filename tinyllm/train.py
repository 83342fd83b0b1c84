r"""Train a model: python -m tinyllm.train --data FILE --out FOLDER

A new model, by its sizes or a config, or one that is there already. Decoders
learn what comes next, encoders (--arch bert) what a mask hides, and
encoder-decoders (--arch marian) to make of each line of FILE the same line of
--target. Tells on stderr how it goes. FOLDER gets the model, which python -m
tinyllm.generate takes, or fill_mask, or translate; a line for every step in
metrics.jsonl, which python -m tinyllm.plot draws; and checkpoints. Ctrl-C
saves; --resume FOLDER goes on as if nothing had been, to the last bit.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli import interrupts
from tinyllm.cli.arguments import add_common, whole
from tinyllm.cli.between_steps import signals_wait
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.new_model import add_new_model, new_config
from tinyllm.cli.progress import Progress, duration
from tinyllm.cli.terminal import Messages, is_terminal
from tinyllm.cli.training import (
    add_data,
    add_steps,
    fill_in,
    recall,
    remember,
    settings_of,
)
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.backend import Params
    from tinyllm.models.architecture import Config
    from tinyllm.tokenizers import Tokenizer
    from tinyllm.training.trainer import Report, Trainer

EVERY = 10.0  # seconds between two lines where nobody watches
INIT = 2  # which of a run's streams of random numbers this is; see `tinyllm.training.windows`


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.train", description=__doc__)
    add_data(parser)
    add_new_model(parser)
    add_steps(parser)
    _add_run(parser)
    add_common(parser)
    return run_command(parser, train, argv)


def train(args: argparse.Namespace, messages: Messages) -> int:
    """Make the trainer that the flags describe, and let it take its steps."""
    from tinyllm.training.run import claimed, steps_in_folder

    resume = args.resume is not None
    out = _folder(args)
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
        trainer, tokenizer, data = _prepare(args, out, messages)
        if not resume:
            remember(args, out)
        steps = steps_in_folder(
            out, trainer, data=data, tokenizer=tokenizer, resume=resume, say=messages.note
        )
        start = time.monotonic()
        try:
            last = _take(steps, trainer, args.until, messages)
        except (KeyboardInterrupt, interrupts.Terminated):
            messages.say(f"stopped after step {trainer.step}; {_go_on(out)}")
            raise
    _say_end(trainer, last, out, time.monotonic() - start, args, messages)
    return 0


def _folder(args: argparse.Namespace) -> Path:
    """Return the run's folder, which --resume names, or --out."""
    named = args.resume or args.out
    if not named:
        raise UsageError("there is nowhere to write the model: give a folder with --out")
    if args.resume and args.out and Path(args.resume) != Path(args.out):
        raise UsageError("--resume and --out name two folders; one run has one")
    return Path(named)


def _prepare(
    args: argparse.Namespace, out: Path, messages: Messages
) -> "tuple[Trainer, Tokenizer | None, str]":
    """Read model and data: return a trainer, its tokenizer, and the hash of the data."""
    from tinyllm.backend import get_backend
    from tinyllm.cli.training_data import read_data
    from tinyllm.training.memory import check_training_memory
    from tinyllm.training.trainer import Trainer

    settings = settings_of(args)
    config, params, tokenizer = _model(args, out, messages)
    if settings.seq_len > config.max_seq_len:
        raise UsageError(
            f"seq_len is {settings.seq_len}, and the model's longest text {config.max_seq_len} "
            f"tokens: give a smaller --seq-len, or a new model a larger --context"
        )
    learning = read_data(args, config, tokenizer, out, messages)
    xp = get_backend(args.backend)
    if not args.force:
        check_training_memory(xp, config, params, settings)
    trainer = Trainer(
        xp, config, params, learning.data, settings, validation=learning.held_out
    )  # fmt: skip
    messages.note(
        f"{sum(p.size for p in params.values()):,} parameters · {learning.summary} · who guesses "
        f"among {config.vocab_size:,} has a loss of {math.log(config.vocab_size):.4f}"
    )
    return trainer, tokenizer, learning.digest


def _model(
    args: argparse.Namespace, out: Path, messages: Messages
) -> "tuple[Config, Params, Tokenizer | None]":
    """Return what to train: of the folder's checkpoint, of --model, or new."""
    import numpy as np

    from tinyllm.cli.training_data import new_tokenizer
    from tinyllm.models.architecture import architecture
    from tinyllm.tokenizers import has_tokenizer, load_tokenizer
    from tinyllm.training.run import CHECKPOINTS
    from tinyllm.training.snapshot import saved_config

    if args.resume is not None:
        config = saved_config(out / CHECKPOINTS)
        tokenizer = load_tokenizer(out) if has_tokenizer(out) else None
    elif args.model is not None:
        from tinyllm.model import load

        messages.status(f"loading {args.model} …")
        model = load(args.model, dtype=args.dtype, report=messages.status)
        return model.config, model.params, model.tokenizer
    else:
        settings = settings_of(args)
        tokenizer = new_tokenizer(args, messages)
        config = new_config(args, tokenizer, settings.seq_len)
    rng = np.random.default_rng([settings_of(args).seed, INIT])
    return config, architecture(config).init_params(config, rng, np.dtype(args.dtype)), tokenizer


def _take(
    steps: Iterator[Any], trainer: "Trainer", until: int | None, messages: Messages
) -> "Report | None":
    """Take all steps, or those up to `until`, saying how it goes; return the last report."""
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
            if report.step == until:
                break
    return report


def _say_end(
    trainer: "Trainer",
    report: "Report | None",
    out: Path,
    seconds: float,
    args: argparse.Namespace,
    messages: Messages,
) -> None:
    """Say what has come out, to people or, with --json, to programs."""
    from tinyllm.models.architecture import architecture

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
    if report is None:
        messages.note(f"all {trainer.step} steps were taken before; more --steps would go on")
    else:
        early = trainer.done and trainer.step < trainer.settings.steps
        command = architecture(trainer.config).use.replace("-", "_")
        use = f"python -m tinyllm.{command} --model {shlex.quote(str(out))} PROMPT"
        messages.note(
            f"{trainer.step} steps{', the loss fell no more' if early else ''}, "
            f"{duration(seconds)}; {use if trainer.done else _go_on(out)}"
        )


def _go_on(out: Path) -> str:
    return f"go on with: python -m tinyllm.train --resume {shlex.quote(str(out))}"


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("run").add_argument
    add("--out", "-o", metavar="FOLDER", help="where to write")
    add(
        "--resume", nargs="?", const="", metavar="FOLDER",
        help="go on with the run in this folder, or in --out, with the flags it began with",
    )  # fmt: skip
    add(
        "--until", type=whole, metavar="N",
        help="stop after step N, to go on with --resume at another time",
    )  # fmt: skip
    add(
        "--backend", choices=["numpy", "cupy"],
        default=os.environ.get("TINYLLM_BACKEND") or "numpy",
        help="numpy: the CPU; cupy: an NVIDIA GPU (default: $TINYLLM_BACKEND, or numpy)",
    )  # fmt: skip
    add("--dtype", choices=["float32", "float64"], help="what to compute with (default: float32)")
    add(
        "--force", action="store_true",
        help="train a model that takes more memory than there is",
    )  # fmt: skip
    add("--json", action="store_true", help="print what has come out as one JSON object")


if __name__ == "__main__":
    sys.exit(main())
