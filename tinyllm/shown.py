"""How messages show things: values and names on one line, never obeyed; numbers with a unit."""

import os
import reprlib
from typing import Any

MOST = 200  # characters
_limited = reprlib.Repr()
_limited.maxstring = _limited.maxother = 120
_limited.maxlist = _limited.maxtuple = 8


def shown(value: Any) -> str:
    r"""Return the `repr` of a value, cut to what fits one line.

    >>> shown("a\x1b[31m")
    "'a\\x1b[31m'"
    """
    text = _limited.repr(value)
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."


def plain(name: str | os.PathLike[str]) -> str:
    r"""Return a path or a key as it is, or its `repr` where a line break or worse is in it.

    >>> plain("model/config.json"), plain("a\nb")
    ('model/config.json', "'a\\nb'")
    """
    text = os.fsdecode(name)
    return text if text.isprintable() else repr(text)


def quantity(number: float, unit: str) -> str:
    """Return a number with three digits and a decimal prefix.

    >>> quantity(269_030_016, "B"), quantity(999.6, "B"), quantity(12, "FLOP")
    ('269 MB', '1 kB', '12 FLOP')
    """
    for prefix in ("", "k", "M", "G", "T"):
        if number < 999.5:
            return f"{number:.3g} {prefix}{unit}"
        number /= 1000
    return f"{number:.3g} P{unit}"
