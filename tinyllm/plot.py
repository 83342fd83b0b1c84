"""Draw the losses of runs: python -m tinyllm.plot RUN/metrics.jsonl -o loss.svg

RUN is the folder of python -m tinyllm.train, which may stand for its file.
Several runs come into one figure. A line that was cut short is skipped. On a
terminal each run is drawn as a line of text, too.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tinyllm.cli.arguments import add_common, real
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.figure import Run, draw, points, sparkline
from tinyllm.cli.terminal import Messages, is_terminal
from tinyllm.errors import UsageError
from tinyllm.shown import plain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.plot", description=__doc__)
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="a run's folder, or its metrics.jsonl")
    add("--out", "-o", metavar="FILE", help="the picture: .svg, .png or .pdf")
    add(
        "--smooth", type=real, default=0.9, metavar="X",
        help="average each step's loss with its neighbours: the i-th on either side counts X to "
        "the power of i; from 0 to below 1 (default: 0.9)",
    )  # fmt: skip
    add("--log", action="store_true", help="a logarithmic axis for the loss")
    add_common(parser)
    return run_command(parser, plot, argv)


def plot(args: argparse.Namespace, messages: Messages) -> int:
    """Read the runs, draw them."""
    shows = is_terminal(sys.stdout)
    if args.out is None and not shows:
        raise UsageError("there is nothing to draw on: give a file with -o, like -o loss.svg")
    if args.out is not None:
        from tinyllm.picture import check_picture

        check_picture(Path(args.out))
    if not 0 <= args.smooth < 1:
        raise UsageError(f"smooth is {args.smooth}, expected at least 0 and below 1")
    runs = [_read(Path(run)) for run in args.runs]
    if args.out is not None:
        draw(runs, Path(args.out), smooth=args.smooth, log=args.log)
    if shows and not args.quiet:
        for run in runs:
            sys.stdout.write(_line(run) + "\n")
    return 0


def _read(path: Path) -> Run:
    """Return a run's name and its rows. Raises UsageError where it has no loss."""
    from tinyllm.training.metrics import read_metrics

    file = path / "metrics.jsonl" if path.is_dir() else path
    rows = read_metrics(file)
    if not points(rows, "loss")[0]:
        raise UsageError(f"{plain(file)}: has no loss; expected a run's metrics.jsonl")
    folder = file.resolve().parent.name
    return (folder if file.name == "metrics.jsonl" else file.name), rows


def _line(run: Run) -> str:
    """Return a run as a line of text: its name, its bars, the first loss and the last."""
    name, rows = run
    _, losses = points(rows, "loss")
    ends = f"{losses[0]:.3f} → {losses[-1]:.3f}"
    room = shutil.get_terminal_size().columns - len(plain(name)) - len(ends) - 3
    return f"{plain(name)} {sparkline(losses, max(10, room))} {ends}"


if __name__ == "__main__":
    sys.exit(main())
