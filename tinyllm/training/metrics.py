"""What a run was like, step by step: one JSON object in each line of metrics.jsonl."""

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.errors import UsageError
from tinyllm.shown import plain


@contextmanager
def metrics_writer(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that adds a row to the file, for the `with` block.

    Each is given to the system in one piece, so that a process which is killed leaves no half of
    one; and what reads the file skips a line that a power cut left in two. Raises UsageError where
    the disk refuses.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            yield lambda row: _write_all(file, (json.dumps(row, allow_nan=False) + "\n").encode())
        finally:
            os.close(file)
    except OSError as error:
        raise UsageError(f"{plain(path)}: cannot be written: {error}") from error


def _write_all(file: int, line: bytes) -> None:
    while line:  # a disk that is nearly full takes less than it is given
        line = line[os.write(file, line) :]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that have a step; lines that are cut or foreign are skipped.

    Raises UsageError where the file cannot be read, or has no such row.
    """
    rows = list(_rows(path))
    if not rows:
        raise UsageError(f"{plain(path)}: has no line of metrics; expected a run's metrics.jsonl")
    return rows


def truncate_metrics(path: Path, step: int) -> None:
    """Keep the rows up to a step: those of later ones will be written again."""
    if path.exists():
        kept = [row for row in _rows(path) if row["step"] <= step]
        with atomic_write(path) as file:
            file.writelines((json.dumps(row) + "\n").encode() for row in kept)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "no such file"
        raise UsageError(f"{plain(path)}: {what}; expected a run's metrics.jsonl")
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict) and _is_number(row.get("step")):
                    yield row
    except OSError as error:
        raise UsageError(f"{plain(path)}: cannot be read: {error}") from error


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
