"""Pictures by matplotlib, whole or not at all, and of the same bytes every time."""

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.errors import UsageError
from tinyllm.shown import plain

FORMATS = (".svg", ".png", ".pdf")
UNDATED = {".svg": {"Date": None}, ".png": {"Software": None}, ".pdf": {"CreationDate": None}}


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def check_picture(path: Path) -> None:
    """Raise UsageError where `save_picture` would: before what is to be drawn takes long."""
    if path.suffix not in FORMATS:
        expected = ", ".join(FORMATS)
        raise UsageError(f"{plain(path)}: a picture's name ends with one of {expected}")
    if not can_draw():
        raise UsageError(
            "a picture needs matplotlib, which is not installed: pip install matplotlib"
        )


def save_picture(
    path: Path, draw_on: Callable[[Any], None], *, inches: tuple[float, float] = (8, 5)
) -> None:
    """Let `draw_on` draw on a figure, and put it in the place of a file.

    Raises UsageError where the name is no picture's, or matplotlib is missing; CheckpointError
    where the disk refuses.
    """
    check_picture(path)
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    drawing = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "tinyllm", "svg.fonttype": "none"}):
        figure = Figure(figsize=inches, layout="constrained")
        draw_on(figure)
        figure.savefig(drawing, format=path.suffix[1:], dpi=150, metadata=UNDATED[path.suffix])
    with atomic_write(path) as file:
        file.write(drawing.getvalue())
