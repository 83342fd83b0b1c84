"""The flags that commands share, and the kinds of values that flags take."""

import argparse
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinyllm import __version__
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.model import Model

KINDS = {"fill-mask": "BERT", "translate": "Marian"}  # uses for which no model ships
TIE = {None: None, "yes": True, "no": False}


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--quiet", "-q", action="store_true", help="only the answer and errors")
    how_much.add_argument("--verbose", "-v", action="store_true", help="say all that is done")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"tinyllm {__version__}")


def add_model(parser: argparse.ArgumentParser, use: str | None = None) -> None:
    """Add the flags that say which model to load, and how; `use` is what it must be for."""
    kind = KINDS.get(use or "")
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", "-m", metavar="FOLDER|ORG/NAME",
        help=f"a {kind or 'model'}'s folder, or its id in the local Hugging Face cache"
        + ("" if kind else " (default: the small model that ships with tinyllm)"),
    )  # fmt: skip
    add_backend(group)
    group.add_argument(
        "--dtype", choices=["float32", "float64"], default="float32",
        help="what to compute with (default: float32)",
    )  # fmt: skip
    group.add_argument(
        "--storage", metavar="TYPE",
        choices=["float32", "float64", "bfloat16", "float16", "int8", "int4"],
        help="how to keep matrices; bfloat16, float16: half the memory, on the CPU slower; int8,"
        " int4: a quarter and less, rounded (default: as --dtype)",
    )  # fmt: skip
    add_tie(group)
    group.add_argument(
        "--force", action="store_true", help="load a model that takes more memory than there is"
    )


def add_backend(group: argparse._ActionsContainer) -> None:
    """Add the flag that says where to compute."""
    group.add_argument(
        "--backend", choices=["numpy", "cupy"],
        default=os.environ.get("TINYLLM_BACKEND") or "numpy",
        help="numpy: the CPU; cupy: an NVIDIA GPU (default: $TINYLLM_BACKEND, or numpy)",
    )  # fmt: skip


def load_model(
    args: argparse.Namespace, messages: Messages, use: str | None = "generate"
) -> "Model":
    """Load the model that the flags of `add_model` name.

    Raises UsageError for one that is for another `use`, unless that is None.
    """
    from tinyllm.model import load
    from tinyllm.models.architecture import require_use

    if args.model is None and use in KINDS:
        raise UsageError(f"the model that ships is not for {use}: give -m a {KINDS[use]}'s folder")
    messages.status(f"loading {args.model or 'the model that ships'} …")
    model = load(
        args.model,
        backend=args.backend,
        dtype=args.dtype,
        storage=args.storage,
        tie=TIE[args.tie],
        context=getattr(args, "context", None) or 0,
        force=args.force,
        report=messages.status,
    )
    if use is not None:
        require_use(model.config, use)
    return model


def add_color(group: argparse._ActionsContainer) -> None:
    """Add the flag that `tinyllm.cli.color.wanted` reads."""
    group.add_argument(
        "--color", choices=["auto", "always", "never"], default="auto",
        help="colours (default: auto, on a terminal without $NO_COLOR)",
    )  # fmt: skip


def add_tie(group: argparse._ActionsContainer) -> None:
    """Add the flag that settles a contradiction; TIE turns it into a truth value."""
    group.add_argument(
        "--tie", choices=["yes", "no"],
        help="whether the head is the embedding table, where config and file disagree",
    )  # fmt: skip


def refuse_unread(args: argparse.Namespace, *rules: tuple[bool, str, Sequence[str]]) -> None:
    """Raise UsageError for a flag that is given where nothing reads it.

    A rule is whether it holds, where that is, and the flags that are not read there, by the names
    that argparse keeps them under.
    """
    for holds, where, names in rules:
        for name in names:
            if holds and name in args.given:
                raise UsageError(f"--{name.replace('_', '-')} is not read {where}: leave it out")


def whole(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def real(text: str) -> float:
    """Read a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def token_bias(text: str) -> tuple[int, float]:
    """Read ID=X; X may be -inf, which forbids the token."""
    token, _, bias = text.partition("=")
    try:
        return int(token), -math.inf if bias == "-inf" else real(bias)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not ID=X, like 13=-1.5") from None
