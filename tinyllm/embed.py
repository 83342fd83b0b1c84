"""Word vectors: python -m tinyllm.embed train --data FILE --out FILE

    train        learn vectors from text: skip-gram, CBOW or GloVe
    neighbours   print the words that are near a word
    analogy      print what is to C as B is to A
    plot         draw a map of words
    evaluate     score vectors by people's ratings, and by analogies

python -m tinyllm.embed PART --help explains one.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import difflib
import sys
from collections.abc import Sequence

from tinyllm.cli.arguments import add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.embed import ask, evaluate, plot, train
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError

PARTS = {
    "train": train.main,
    "neighbours": ask.neighbours_main,
    "analogy": ask.analogy_main,
    "plot": plot.main,
    "evaluate": evaluate.main,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the part that the first word names; return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in PARTS:
        return PARTS[words[0]](words[1:])
    parser = Parser(prog="python -m tinyllm.embed", usage="%(prog)s PART …", description=__doc__)
    add_common(parser)
    parser.add_argument("part", nargs="?", help=argparse.SUPPRESS)
    return run_command(parser, explain, words[:1])


def explain(args: argparse.Namespace, messages: Messages) -> int:
    """Refuse what is no part of the command."""
    if args.part is None:
        raise UsageError(f"which part? There are {', '.join(PARTS)}")
    near = difflib.get_close_matches(args.part, PARTS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PARTS)}"
    raise UsageError(f"there is no part {args.part!r}; {hint}")


if __name__ == "__main__":
    sys.exit(main())
