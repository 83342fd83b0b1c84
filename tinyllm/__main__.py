"""python -m tinyllm COMMAND: the same as python -m tinyllm.COMMAND."""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

from tinyllm import __version__
from tinyllm.cli.arguments import add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError

COMMANDS = {
    "generate": "continue a prompt",
    "chat": "talk with a model",
    "train": "train a model, and go on where a run was stopped",
    "evaluate": "say how well a model predicts a text, or answers questions",
    "plot": "draw the losses of runs",
    "embed": "learn word vectors from text, ask them, draw them, judge them",
    "fill-mask": "say what a mask in a text hides, by an encoder",
    "translate": "turn a text into another, by an encoder and a decoder",
    "tokenize": "turn text into token ids, and back",
    "prune": "make a model smaller: zeros in its weights, or fewer layers",
    "distill": "train a small model on what a large one makes of a text",
    "convert": "turn llama2.c files and Meta's layout into Hugging Face's, and back",
    "info": "say what a model is, and what it needs",
    "bench": "measure speed and memory by the length of a text",
    "gradcheck": "check every gradient against central differences",
    "doctor": "say what this machine has for tinyllm, and what is wrong with it",
}
_ONLY_HERE = ("tokenize",)  # python -m tinyllm.tokenize would hide a module that Python itself has


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the command that the first word names; return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        folder = "tinyllm.cli" if words[0] in _ONLY_HERE else "tinyllm"
        return int(import_module(f"{folder}.{words[0].replace('-', '_')}").main(words[1:]))
    listing = "\n".join(f"  {name:<10}{what}" for name, what in COMMANDS.items())
    parser = Parser(
        prog="python -m tinyllm",
        usage="%(prog)s COMMAND …",
        description=f"tinyllm {__version__}\n\ncommands:\n{listing}\n\n"
        "python -m tinyllm COMMAND --help explains one.",
    )
    add_common(parser)
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)

    def explain(args: argparse.Namespace, messages: Messages) -> int:
        if args.command is not None:
            near = difflib.get_close_matches(args.command, COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
            raise UsageError(f"there is no command {args.command!r}; {hint}")
        if words:
            raise UsageError("the command comes first, its options after it")
        parser.print_help()
        return 0

    return run_command(parser, explain, words[:1])


if __name__ == "__main__":
    sys.exit(main())
