"""Say what a mask hides: python -m tinyllm.fill_mask -m FOLDER "The [MASK] sat."

For encoders such as BERT and RoBERTa, whose mask is [MASK] or <mask>. Of more
than one each is judged with the others still hidden.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tinyllm.cli.arguments import add_common, add_model, load_model, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages, printable
from tinyllm.cli.text_input import add_prompt, read_prompt
from tinyllm.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.fill_mask", description=__doc__)
    add_prompt(parser, "the text with a mask in it")
    add_model(parser, "fill-mask")
    group = parser.add_argument_group("output")
    group.add_argument(
        "--top", type=whole, default=5, metavar="N", help="tokens for each mask (default: 5)"
    )
    group.add_argument("--json", action="store_true", help="print one JSON object for each mask")
    add_common(parser)
    return run_command(parser, fill, argv)


def fill(args: argparse.Namespace, messages: Messages) -> int:
    """Load the model, print the guesses."""
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the answer")
    if args.top < 1:
        raise UsageError(f"--top is {args.top}, expected at least 1")
    text = read_prompt(args).rstrip("\n")
    model = load_model(args, messages, "fill-mask")
    masks = model.fill_mask(text, top=args.top)
    messages.clear()
    for number, guesses in enumerate(masks, 1):
        if args.json:
            row = {"mask": number, "guesses": [asdict(guess) for guess in guesses]}
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
            continue
        if len(masks) > 1:
            sys.stdout.write(f"mask {number}\n")
        for guess in guesses:
            sys.stdout.write(f"{guess.probability:8.4f}  {printable(guess.text)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
