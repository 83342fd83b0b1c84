"""Colours on a terminal that wants them."""

import os

from tinyllm.cli.terminal import is_terminal

DIM, RED, GREEN = "2", "31", "32"
BLUE_GROUND, GREY_GROUND = "30;106", "30;47"


def wanted(choice: str, stream: object) -> bool:
    """Decide on colours: `choice` is always, never, or auto.

    auto is yes on a terminal, unless it is a dumb one or $NO_COLOR says no (https://no-color.org).
    """
    if choice != "auto":
        return choice == "always"
    dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return is_terminal(stream) and not dumb


def paint(text: str, color: str, *, on: bool = True) -> str:
    """Colour a text, line by line, if `on`.

    >>> paint("a", RED)
    '\\x1b[31ma\\x1b[0m'
    """
    if not on:
        return text
    lines = text.split("\n")  # a ground that crosses a line's end would fill the next line
    return "\n".join(f"\x1b[{color}m{line}\x1b[0m" if line else "" for line in lines)
