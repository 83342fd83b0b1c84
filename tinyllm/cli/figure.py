"""The losses of runs as a picture, by matplotlib, or as one line of text."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tinyllm.shown import plain

BARS = "▁▂▃▄▅▆▇█"
Run = tuple[str, list[dict[str, Any]]]  # its name, and its rows


def points(rows: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Return the steps that have a number under `key`, and the numbers."""
    found = [(row["step"], row[key]) for row in rows if type(row.get(key)) in (int, float)]
    return [step for step, _ in found], [value for _, value in found]


def smoothed(values: Sequence[float], kept: float) -> list[float]:
    """Average each number with its neighbours, of which the i-th on either side counts keptⁱ.

    >>> smoothed([3.0, 0.0], 0.5)
    [2.5, 0.5]
    """
    before, after = _with_those_before(values, kept), _with_those_before(values[::-1], kept)[::-1]
    return [(a + b) / 2 for a, b in zip(before, after, strict=True)]


def _with_those_before(values: Sequence[float], kept: float) -> list[float]:
    out, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = kept * total + value, kept * weight + 1.0
        out.append(total / weight)
    return out


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw numbers as bars in one line, each of them the mean of its share.

    >>> sparkline([4, 3, 2, 1], 4)
    '█▆▃▁'
    """
    width = min(width, len(values))
    edges = [len(values) * i // width for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def draw(runs: Sequence[Run], path: Path, *, smooth: float, log: bool) -> None:
    """Draw the runs into one figure: faint what each step was, above it smoothed, and validation.

    Raises as `save_picture` does.
    """
    from tinyllm.picture import save_picture

    def lines(figure: Any) -> None:
        axes = figure.add_subplot()
        for index, (name, rows) in enumerate(runs):
            color = f"C{index % 10}"
            steps, losses = points(rows, "loss")
            axes.plot(steps, losses, color=color, alpha=0.25, linewidth=0.8)
            axes.plot(steps, smoothed(losses, smooth), color=color, label=_label(name, "training"))
            steps, losses = points(rows, "val_loss")
            if steps:
                axes.plot(
                    steps, losses, color=color, linestyle="--", marker="o", markersize=3,
                    label=_label(name, "validation"),
                )  # fmt: skip
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats per token)")
        axes.grid(alpha=0.3)
        if log:
            axes.set_yscale("log")
        axes.legend()

    save_picture(path, lines)


def _label(name: str, what: str) -> str:
    """Name a curve; matplotlib would read a dollar as mathematics."""
    return f"{plain(name)}, {what}".replace("$", r"\$")
