"""Check gradients against central differences: python -m tinyllm.gradcheck

Every operation for each of its arguments, and tiny models of every kind for
each of their parameters; or those that NAMES say. With --model, that model:
NAMES are then parts of the names of parameters. Leaves with 1 where one is
wrong. About 1e-9 is right: what is left is the rounding of float64.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tinyllm.cli import color
from tinyllm.cli.arguments import add_color, add_common, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages, is_terminal, printable
from tinyllm.errors import UsageError
from tinyllm.shown import plain

if TYPE_CHECKING:
    from tinyllm.gradient_checks import Check

Row = tuple[str, "Check"]  # of what operation or model it is a gradient


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.gradcheck", description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="an operation or a kind of model")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", "-m", metavar="FOLDER|ORG/NAME", help="check this model")
    which.add_argument("--arch", metavar="NAME", help="check a tiny model of this kind")
    add("--samples", type=whole, default=1, metavar="N", help="draws of each (default: 1)")
    add("--seed", type=whole, default=0, metavar="N", help="of the draws (default: 0)")
    add(
        "--backend", choices=["numpy", "cupy"],
        default=os.environ.get("TINYLLM_BACKEND") or "numpy",
        help="numpy: the CPU; cupy: an NVIDIA GPU (default: $TINYLLM_BACKEND, or numpy)",
    )  # fmt: skip
    add("--json", action="store_true", help="print one JSON object")
    add_color(parser)
    add_common(parser)
    return run_command(parser, gradcheck, argv)


def gradcheck(args: argparse.Namespace, messages: Messages) -> int:
    """Check what the arguments name; print a line for each gradient; return 1 if one is wrong."""
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write what was found")
    if args.samples < 1:
        raise UsageError(f"--samples is {args.samples}, expected at least 1")
    if not 0 <= args.seed < 2**64:
        raise UsageError(f"--seed is {args.seed}, expected 0 to {2**64 - 1}")
    rows = list(_checked(args, messages))
    wrong = sum(not check.ok for _, check in rows)
    messages.clear()
    if args.json:
        text = json.dumps(_as_json(args, rows), indent=2)
    else:
        text = "\n".join(_lines(rows, colored=color.wanted(args.color, sys.stdout)))
    sys.stdout.write((printable(text) if is_terminal(sys.stdout) and args.json else text) + "\n")
    messages.note(f"{len(rows)} gradients checked, {wrong} wrong")
    return 1 if wrong else 0


def _checked(args: argparse.Namespace, messages: Messages) -> Iterator[Row]:
    """Check one thing after another."""
    from tinyllm.backend import get_backend
    from tinyllm.gradient_checks import check_gradients, check_operation
    from tinyllm.models import examples as of_models
    from tinyllm.ops import examples as of_operations

    draws = {"samples": args.samples, "seed": args.seed}
    if args.model is not None:
        from tinyllm.model import load

        messages.status(f"loading {args.model} …")
        model = load(args.model, backend=args.backend, dtype="float64", report=messages.status)
        messages.status(f"checking {args.model} …")
        for check in check_gradients(model, only=args.names, **draws):
            yield plain(args.model), check
        return
    operations, models = list(of_operations.EXAMPLES), list(of_models.EXAMPLES)
    if args.arch is not None and (args.names or args.arch not in models):
        raise UsageError(f"--arch takes the place of names, and is one of {', '.join(models)}")
    chosen = [args.arch] if args.arch is not None else args.names or operations + models
    for name in chosen:
        if name not in operations + models:
            raise UsageError(
                f"there is no operation or model {name!r}; operations are {', '.join(operations)}, "
                f"models {', '.join(models)}"
            )
    xp = get_backend(args.backend)
    for name in chosen:
        messages.status(f"checking {name} …")
        if name in operations:
            checks = check_operation(name, xp=xp, **draws)
        else:
            checks = check_gradients(of_models.example_config(name), xp=xp, **draws)
        for check in checks:
            yield name, check


def _lines(rows: Sequence[Row], *, colored: bool) -> list[str]:
    """Draw the table."""
    widths = [max(len(of) for of, _ in rows), max(len(check.name) for _, check in rows)]
    marks = {True: color.paint("ok", color.GREEN, on=colored)}
    marks[False] = color.paint("WRONG", color.RED, on=colored)
    return [
        f"{printable(of):<{widths[0]}}  {printable(check.name):<{widths[1]}}  "
        f"{check.error:8.1e}  {marks[check.ok]}"
        for of, check in rows
    ]


def _as_json(args: argparse.Namespace, rows: Sequence[Row]) -> dict[str, Any]:
    """Return all that is known; JSON has no NaN or infinity, so such an error is null."""
    from tinyllm.gradient_checks import TOLERANCE

    checks = [
        {
            "of": of,
            "name": check.name,
            "error": check.error if math.isfinite(check.error) else None,
            "ok": check.ok,
        }
        for of, check in rows
    ]
    return {
        "backend": args.backend, "samples": args.samples, "seed": args.seed,
        "tolerance": TOLERANCE, "wrong": sum(not check.ok for _, check in rows), "checks": checks,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
