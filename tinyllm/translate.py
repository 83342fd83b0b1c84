"""Translate: python -m tinyllm.translate -m FOLDER "The house is small."

For models with an encoder and a decoder, such as Marian, BART and T5. What a T5
is to do stands before the text: "translate English to German: …". Each line is
a text of its own.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tinyllm.cli.arguments import add_common, add_model, load_model, real, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages, printable
from tinyllm.cli.text_input import add_prompt, read_prompt
from tinyllm.errors import UsageError
from tinyllm.training.documents import lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.translate", description=__doc__)
    add_prompt(parser, "the text to translate, line by line")
    add_model(parser, "translate")
    group = parser.add_argument_group("search")
    group.add_argument(
        "--beams", type=whole, default=4, metavar="N", help="texts to follow at once (default: 4)"
    )
    group.add_argument(
        "--alpha", type=real, default=0.6, metavar="A",
        help="0 favours short texts, more longer ones (default: 0.6)",
    )  # fmt: skip
    group.add_argument(
        "--max-tokens", type=whole, default=256, metavar="N", help="at most (default: 256)"
    )
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print one JSON object for each text")
    add_common(parser)
    return run_command(parser, translate, argv)


def translate(args: argparse.Namespace, messages: Messages) -> int:
    """Load the model, print a line for each line."""
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the answer")
    texts = lines(read_prompt(args))
    model = load_model(args, messages, "translate")
    messages.clear()
    for line in texts:
        found = model.translate(
            line, beams=args.beams, alpha=args.alpha, max_tokens=args.max_tokens
        )
        row = json.dumps(asdict(found), ensure_ascii=False) if args.json else printable(found.text)
        sys.stdout.write(row + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
