"""python -m tinyllm COMMAND: the same as python -m tinyllm.COMMAND."""

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

from tinyllm import __version__
from tinyllm.cli.arguments import add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.errors import UsageError

COMMANDS = {
    "generate": "continue a prompt",
    "convert": "turn llama2.c files and Meta's layout into Hugging Face's, and back",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the command that the first word names; return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        return int(import_module(f"tinyllm.{words[0]}").main(words[1:]))
    listing = "\n".join(f"  {name:<12}{what}" for name, what in COMMANDS.items())
    parser = Parser(
        prog="python -m tinyllm",
        usage="python -m tinyllm COMMAND …",
        description=f"tinyllm {__version__}\n\ncommands:\n{listing}\n\n"
        "python -m tinyllm COMMAND --help explains one.",
    )
    add_common(parser)
    parser.add_argument("command", nargs="?", help="one of the above")
    parser.add_argument("rest", nargs="*")

    def say_what_there_is(args: object) -> int:
        name = getattr(args, "command", None)
        if name is None:
            parser.print_help()
            return 0
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        raise UsageError(f"there is no command {name!r}; {hint}")

    return run_command(parser, say_what_there_is, words)


if __name__ == "__main__":
    sys.exit(main())
