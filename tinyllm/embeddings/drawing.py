"""A map of words: their vectors' two principal components, drawn by matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.picture import save_picture


def draw_map(
    path: Path, words: Sequence[str], points: np.ndarray, share: np.ndarray, title: str = ""
) -> None:
    """Write a drawing of labelled points (N, 2), as the name says; equal ones, equally.

    Raises as `save_picture` does.
    """

    def labelled(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.scatter(points[:, 0], points[:, 1], s=12)
        for word, point in zip(words, points, strict=True):
            label = axes.annotate(word, tuple(point), xytext=(3, 3), textcoords="offset points")
            label.set_parse_math(False)  # a word may hold a $
            label.set_fontsize(9)
        axes.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
        axes.set_ylabel(f"second component ({share[1]:.0%})")
        axes.set_title(title, parse_math=False)

    save_picture(path, labelled, inches=(9, 7))
