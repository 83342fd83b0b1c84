"""What the parts of `bench` share: how to measure, and how to show what was measured."""

import argparse
import csv
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import add_common, whole
from tinyllm.errors import UsageError
from tinyllm.shown import plain

if TYPE_CHECKING:
    from tinyllm.backend import Backend

Row = dict[str, Any]


def lengths(text: str) -> list[int]:
    """Read whole numbers between commas, 1 or more."""
    numbers = [whole(word) for word in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a length is at least 1")
    return numbers


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how often to measure, and where to put it."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--repeat", "-r", type=whole, default=5, metavar="N", help="runs of each (default: 5)"
    )
    group.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, too")
    group.add_argument("--plot", type=Path, metavar="FILE", help="draw it: .svg, .png or .pdf")
    group.add_argument("--json", action="store_true", help="print one JSON object a row")
    add_common(parser)


def check_output(args: argparse.Namespace) -> None:
    """Raise UsageError for what `show` could not do, before anything is measured."""
    if args.repeat < 1:
        raise UsageError(f"--repeat is {args.repeat}, expected at least 1")
    if args.plot is not None:
        from tinyllm.picture import check_picture

        check_picture(args.plot)
    for path in (args.csv, args.plot):
        if path is not None and path.is_dir():
            raise UsageError(f"{plain(path)}: cannot be written, for it is a folder")
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"{plain(path)}: there is no folder {plain(path.parent)}")


def measured(
    xp: "Backend", call: Callable[[], Any], repeat: int
) -> tuple[tuple[float, float], float]:
    """Return median and spread of the seconds of a call, and its peak memory in megabytes.

    Memory is measured apart, in a first run that warms up, for measuring it takes time.
    """
    peak = xp.peak_memory(call) / 1e6
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return (median(seconds), max(seconds) - min(seconds)), peak


def show(
    rows: Sequence[Row],
    columns: Sequence[str],
    args: argparse.Namespace,
    *,
    line: str | None,
    y: str,
) -> int:
    """Print the table; then, for that may fail, write and draw it where the flags say so.

    The figure shows the columns `y` and "peak MB" over the tokens, a line for each value of the
    column `line`. Raises CheckpointError where a file cannot be written.
    """
    if sys.stdout is not None:
        sys.stdout.writelines(
            (json.dumps(row) + "\n" for row in rows) if args.json else _lines(rows, columns)
        )
        sys.stdout.flush()
    if args.csv is not None:
        from tinyllm.checkpoints.atomic import atomic_write

        with atomic_write(args.csv) as file:
            file.write(_csv(rows, columns).encode())
    if args.plot is not None:
        from tinyllm.picture import save_picture

        save_picture(args.plot, lambda figure: _draw(figure, rows, line, y))
    return 0


def _lines(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    """Yield the table for people."""
    widths = [max(len(name), 9) + 2 for name in columns]
    for cells in ([*columns], *([_cell(row[name]) for name in columns] for row in rows)):
        yield "".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)) + "\n"


def _csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    writer = csv.DictWriter(text := io.StringIO(newline=""), columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _draw(figure: Any, rows: Sequence[Row], line: str | None, y: str) -> None:
    """Draw speed and memory side by side, each over the tokens."""
    for place, column in enumerate((y, "peak MB"), 1):
        axes = figure.add_subplot(1, 2, place)
        for name in dict.fromkeys(row[line] if line else None for row in rows):
            of = [row for row in rows if line is None or row[line] == name]
            heights = [row[column] for row in of if row[column] is not None]
            axes.plot([row["tokens"] for row in of][: len(heights)], heights, "o-", label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
        axes.set_xlabel("tokens")
        axes.set_ylabel(column)
        axes.grid(alpha=0.3, which="both")
        if line is not None and place == 1:
            axes.legend()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
