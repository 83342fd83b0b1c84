r"""Learn from a larger model: python -m tinyllm.distill --teacher T --student S

The student learns what the teacher makes of the text that --data names: by
default what it thinks comes next. A student is what python -m tinyllm.prune has
left, or any other model of the same tokens. It goes as python -m tinyllm.train
goes: --out gets the student, a line for every step in metrics.jsonl, and
checkpoints. Ctrl-C saves; --resume goes on as if nothing had been, to the last
bit.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.cli.arguments import add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.distillation import (
    add_distillation,
    add_models,
    check,
    distillation_of,
    same_place,
)
from tinyllm.cli.terminal import Messages
from tinyllm.cli.training import add_data, add_steps, recall, settings_of
from tinyllm.cli.training_run import Subject, add_run, folder_of, has_begun, run, take_steps
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.cli.training_data import Learning
    from tinyllm.compression.distillation import Distillation
    from tinyllm.model import Model
    from tinyllm.training.losses import Loss
    from tinyllm.training.settings import Settings

TEACHER = "teacher"  # in a run's folder: the teacher, where it was trained first
GENTLE = 0.2  # of the learning rate, for the teacher (Sreenivas et al. 2024, section 3)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.distill", description=__doc__)
    add_models(parser)
    add_data(parser)
    add_distillation(parser)
    add_steps(parser)
    add_run(parser)
    add_common(parser)
    return run_command(parser, distill, argv)


def distill(args: argparse.Namespace, messages: Messages) -> int:
    """Train the student that the flags name."""
    if args.resume is not None:
        recall(args, folder_of(args))
    check(args)
    return run(args, messages, _subject, command="distill")


def _subject(args: argparse.Namespace, out: Path, messages: Messages) -> Subject:
    """Load both models; say what the student is to learn."""
    from tinyllm.compression.distillation import Teacher, init_map, loss_of, require_fit
    from tinyllm.params import nest
    from tinyllm.training.parts import PartlyFrozen, fingerprint

    if same_place(args.teacher, args.student):
        raise UsageError("teacher and student are one model: there is nothing that it could learn")
    teacher, student = (_load(name, args, messages) for name in (args.teacher, args.student))
    what = distillation_of(args, *(getattr(m.config, "n_layers", 0) for m in (student, teacher)))
    require_fit(student.config, teacher.config, what)
    _require_one_tokenizer(student, teacher)
    params = student.params
    if args.only is not None:
        params = {name: x for name, x in params.items() if args.only in name.split(".")}
        if not params:
            raise UsageError(f"no parameter of the student has {args.only} in its name")
    frozen = {name: x for name, x in student.params.items() if name not in params}
    if what.maps:
        seed = settings_of(args).seed
        params = params | init_map(student.config, teacher.config, seed=seed, dtype=args.dtype)
    facts = {
        "teacher": fingerprint(teacher.xp, teacher.params),
        "teacher_correction": args.teacher_correction,
        "distillation": asdict(what),
        "only": args.only,
        "frozen": fingerprint(student.xp, frozen),
    }
    loss = loss_of(Teacher(teacher.config, nest(teacher.params)), what)
    before = None
    if args.teacher_correction:

        def before(learning: "Learning") -> "Loss":
            return _corrected(teacher, what, learning, args, (out / TEACHER, messages))

    return Subject(
        config=student.config, params=params, tokenizer=student.tokenizer or teacher.tokenizer,
        eos_ids=student.eos_ids, loss=loss, facts=facts,
        parts=PartlyFrozen(frozen) if frozen else None,
        teacher=(teacher.config, teacher.params) if what.hidden else None, before=before,
    )  # fmt: skip


def _load(name: str, args: argparse.Namespace, messages: Messages) -> "Model":
    from tinyllm.model import load
    from tinyllm.models.architecture import require_use

    messages.status(f"loading {name} …")
    model = load(name, backend=args.backend, dtype=args.dtype, report=messages.status)
    require_use(model.config, "generate")
    return model


def _require_one_tokenizer(student: "Model", teacher: "Model") -> None:
    """Raise UsageError where the same ids mean something else to both."""
    from tinyllm.evaluation.perplexity import fingerprint

    mine, theirs = student.tokenizer, teacher.tokenizer
    if mine is None or theirs is None:
        return  # whoever has none is taken at their word
    if fingerprint(mine) != fingerprint(theirs):
        raise UsageError(
            "teacher and student have different tokenizers: distillation needs one vocabulary"
        )


def _corrected(
    teacher: "Model",
    what: "Distillation",
    learning: "Learning",
    args: argparse.Namespace,
    where: tuple[Path, Messages],
) -> "Loss":
    """Train the teacher on the text, or go on where that was stopped; return the loss by it.

    Sreenivas et al. 2024, "LLM pruning and distillation in practice: the Minitron approach"
    (arXiv:2408.11796), section 2.2: a teacher that has not seen such a text is a worse one for it.
    """
    from tinyllm.compression.distillation import Teacher, loss_of
    from tinyllm.params import nest
    from tinyllm.training.parts import fingerprint
    from tinyllm.training.trainer import Trainer

    folder, messages = where
    settings: Settings = replace(
        settings_of(args), steps=args.teacher_correction, lr=GENTLE * settings_of(args).lr,
        patience=0, average="none",
    )  # fmt: skip
    trainer = Trainer(
        teacher.xp, teacher.config, teacher.params, learning.data, settings,
        validation=learning.held_out, facts={"teacher": fingerprint(teacher.xp, teacher.params)},
    )  # fmt: skip
    messages.note(f"the teacher first: {settings.steps} steps")
    begun = has_begun(folder)
    take_steps(
        trainer, folder, teacher.tokenizer, learning.digest, messages, eos_ids=teacher.eos_ids,
        resume=begun,
    )  # fmt: skip
    messages.note("and now the student")
    return loss_of(Teacher(teacher.config, nest(trainer.result)), what)


if __name__ == "__main__":
    sys.exit(main())
