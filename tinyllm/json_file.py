"""Read a JSON object from a file: strictly, so that no two readers can understand it differently.

Python's own reader keeps the last of two equal keys, takes NaN for a number and guesses at UTF-16.
A config that other programs read otherwise is a wrong answer waiting to be computed.
"""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from tinyllm.errors import TinyllmError
from tinyllm.files import read_bytes
from tinyllm.shown import plain

MEBIBYTE = 2**20


def read_json(
    path: Path, error: type[TinyllmError], max_bytes: int = 64 * MEBIBYTE
) -> dict[str, Any]:
    """Read the one JSON object that the file `path` holds.

    Raises `error` where the file cannot be read (see `files.read_bytes`) or is anything but an
    object in UTF-8 without duplicate keys, infinite numbers and lone surrogates.
    """
    content = read_bytes(path, error, max_bytes)
    try:
        value = _parse(content.decode("utf-8"))
    except UnicodeDecodeError as cause:
        raise error(
            f"{plain(path)}: is not UTF-8 at byte {cause.start}; expected JSON text"
        ) from cause
    except RecursionError as cause:
        raise error(f"{plain(path)}: is nested too deeply") from cause
    except ValueError as cause:
        raise error(f"{plain(path)}: is not the JSON expected: {cause}") from cause
    if not isinstance(value, dict):
        raise error(
            f"{plain(path)}: holds a JSON {type(value).__name__}; expected an object {{...}}"
        )
    return value


def _parse(text: str) -> Any:
    """Parse JSON text; ValueError or RecursionError where it is not strict."""
    value = json.loads(  # refuses a byte order mark itself
        text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
    )
    if "\\u" in text:  # only an escape can make half of a surrogate pair
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        duplicate = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the key {duplicate!r} appears twice")
    return unique


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]!r} is too large")
    return number
