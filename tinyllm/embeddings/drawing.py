"""A map of words: their vectors' two principal components, drawn by matplotlib."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.errors import UsageError

FORMATS = (".svg", ".png")


def draw_map(
    path: Path, words: Sequence[str], points: np.ndarray, share: np.ndarray, title: str = ""
) -> None:
    """Write a drawing of labelled points (N, 2), SVG or PNG as the name says; equal ones, equally.

    Raises UsageError for another ending, or where matplotlib is missing; CheckpointError where the
    disk refuses.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"{path.name!r} is no drawing's name; expected one ending in .svg or .png")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("drawing needs matplotlib: pip install matplotlib") from error
    with matplotlib.rc_context({"svg.hashsalt": "tinyllm", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 7), layout="constrained")
        axes = figure.add_subplot()
        axes.scatter(points[:, 0], points[:, 1], s=12)
        for word, point in zip(words, points, strict=True):
            label = axes.annotate(word, tuple(point), xytext=(3, 3), textcoords="offset points")
            label.set_parse_math(False)  # a word may hold a $
            label.set_fontsize(9)
        axes.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
        axes.set_ylabel(f"second component ({share[1]:.0%})")
        axes.set_title(title, parse_math=False)
        drawing = io.BytesIO()
        dated = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(drawing, format=path.suffix[1:], metadata=dated, dpi=150)
    with atomic_write(path) as file:
        file.write(drawing.getvalue())
