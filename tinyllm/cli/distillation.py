"""The flags of python -m tinyllm.distill, and what they describe."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import real, refuse_unread, whole
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.compression.distillation import Distillation, Pairs

LOSSES = ("kl", "rkl", "mse", "ce", "hidden", "streams")
DEFAULTS: dict[str, Any] = {"loss": "kl", "tau": 1.0, "ce_weight": 1.0, "teacher_correction": 0}


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add who teaches and who learns."""
    add = parser.add_argument_group("models").add_argument
    add("--teacher", metavar="FOLDER|ORG/NAME", help="whom to learn from")
    add("--student", "--model", "-m", metavar="FOLDER|ORG/NAME",
        help="who learns: what python -m tinyllm.prune has left, say")  # fmt: skip


def add_distillation(parser: argparse.ArgumentParser) -> None:
    """Add what is learnt from the teacher. Defaults come later: a run that goes on has its."""
    add = parser.add_argument_group("what is learnt").add_argument
    add("--loss", metavar="L+L",
        help=f"one of {', '.join(LOSSES)}, or several with + between: divergence of the teacher's "
        "next tokens, the other way round, squared error of logits; the text itself; hidden "
        "states after their norms, by a learned map; the residual stream as it is (default: kl)"
        )  # fmt: skip
    add("--tau", "--temperature", type=real, metavar="X",
        help="what logits are divided by for kl and rkl (default: 1)")  # fmt: skip
    add("--tau-squared", action="store_true", default=None,
        help="multiply kl and rkl by tau², as Hinton does")  # fmt: skip
    add("--ce-weight", type=real, metavar="X", help="how much ce counts (default: 1)")
    add("--alpha", type=real, metavar="X",
        help="how much hidden states count (default: as much as the logits do, and 1 where no "
        "logits are compared)")  # fmt: skip
    add("--pairs", metavar="S:T,…",
        help="which hidden states of student and teacher: 0 the embedding, i what block i - 1 "
        "gives (default: the first and the last; for streams all)")  # fmt: skip
    add("--only", metavar="NAME",
        help="train only parameters with this part in their name: linear, say")  # fmt: skip
    add("--teacher-correction", type=whole, metavar="N",
        help="first train the teacher on the text for N steps, at a fifth of --lr "
        "(default: 0)")  # fmt: skip


def check(args: argparse.Namespace) -> None:
    """Fill in defaults; refuse what cannot be before anything is read."""
    for key, value in DEFAULTS.items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    for name in ("teacher", "student"):
        if getattr(args, name) is None:
            raise UsageError(f"there is no {name}: name a model with --{name}")
    if args.teacher_correction < 0:
        raise UsageError(f"--teacher-correction is {args.teacher_correction}, expected at least 0")
    losses = _losses(args)
    divergence, states = losses & {"kl", "rkl"}, losses & {"hidden", "streams"}
    text = "ce" in losses or args.teacher_correction  # the teacher's own loss is of the text
    refuse_unread(
        args,
        (not divergence, "without --loss kl or rkl", ["tau", "tau_squared"]),
        (not states, "without --loss hidden or streams", ["pairs", "alpha"]),
        ("ce" not in losses, "without --loss ce", ["ce_weight"]),
        (not text, "without --loss ce or --teacher-correction", ["label_smoothing", "z_loss"]),
    )
    distillation_of(args, 1, 1)  # what is out of range shows before anything is read


def same_place(a: str, b: str) -> bool:
    """Whether two names are one, or of one folder."""
    return a == b or (os.path.exists(a) and os.path.exists(b) and os.path.samefile(a, b))


def _losses(args: argparse.Namespace) -> set[str]:
    names = args.loss.split("+")
    unknown = [name for name in names if name not in LOSSES]
    if unknown or len(set(names)) < len(names):
        raise UsageError(
            f"--loss is {args.loss!r}, expected {', '.join(LOSSES)}, or several like kl+ce"
        )
    for one in ({"kl", "rkl", "mse"}, {"hidden", "streams"}):
        if len(one & set(names)) > 1:
            raise UsageError(f"--loss is {args.loss!r}: take one of {', '.join(sorted(one))}")
    if names == ["ce"]:
        raise UsageError("--loss ce is of the text alone, without a teacher: see tinyllm.train")
    return set(names)


def distillation_of(args: argparse.Namespace, student: int, teacher: int) -> "Distillation":
    """Return what the flags say of models with so many blocks."""
    from tinyllm.compression.distillation import LOGITS, Distillation

    losses = _losses(args)
    pairs: Pairs = ()
    if {"hidden", "streams"} & losses:
        pairs = _pairs(args.pairs) if args.pairs else ((0, 0), (student, teacher))
        if "streams" in losses and not args.pairs:
            if student != teacher:
                raise UsageError(
                    f"the student has {student} blocks and the teacher {teacher}: say with "
                    f"--pairs which streams to compare"
                )
            pairs = tuple((i, i) for i in range(1, student + 1))
    return Distillation(
        logits=next((name for name in LOGITS if name in losses), None),
        ce=args.ce_weight if "ce" in losses else 0.0,
        hidden=pairs,
        streams="streams" in losses,
        alpha=args.alpha,
        temperature=args.tau,
        squared=bool(args.tau_squared),
    )


def _pairs(text: str) -> "Pairs":
    pairs = []
    for part in text.split(","):
        mine, _, theirs = part.partition(":")
        if not (mine.isdecimal() and theirs.isdecimal() and len(part) < 12):
            raise UsageError(f"--pairs is {text!r}, expected S:T,S:T, like 0:0,3:6")
        pairs.append((int(mine), int(theirs)))
    return tuple(pairs)
