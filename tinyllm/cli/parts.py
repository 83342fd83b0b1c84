"""A command of several parts: the first word says which."""

import argparse
import difflib
import sys
from collections.abc import Callable, Mapping, Sequence

from tinyllm.cli.arguments import add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError


def run_part(
    command: str,
    description: str | None,
    parts: Mapping[str, Callable[[Sequence[str]], int]],
    argv: Sequence[str] | None,
) -> int:
    """Hand over to the part that the first word names; return its exit code.

    Without one it explains the command, or refuses what is no part of it.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in parts:
        return parts[words[0]](words[1:])
    parser = Parser(
        prog=f"python -m tinyllm.{command}", usage="%(prog)s PART …", description=description
    )
    add_common(parser)
    parser.add_argument("part", nargs="?", help=argparse.SUPPRESS)

    def explain(args: argparse.Namespace, messages: Messages) -> int:
        if args.part is None:
            raise UsageError(f"which part? There are {', '.join(parts)}")
        near = difflib.get_close_matches(args.part, parts, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(parts)}"
        raise UsageError(f"there is no part {args.part!r}; {hint}")

    return run_command(parser, explain, words[:1])
