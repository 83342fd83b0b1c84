"""Judge a model: python -m tinyllm.evaluate perplexity … or choices …

    perplexity --model FOLDER --text FILE --protocol doc
    choices --model FOLDER questions.jsonl
    masked --model ENCODER --text FILE
    translation --model ENCODER-DECODER --text FILE --target FILE

python -m tinyllm.evaluate PART --help explains one.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.cli.arguments import add_common, add_model, load_model, refuse_unread, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.judging import json_line, masked_main, require_output, translation_main
from tinyllm.cli.parts import run_part
from tinyllm.cli.terminal import Messages
from tinyllm.cli.text_input import read_text_file, separator
from tinyllm.shown import plain
from tinyllm.training.documents import MARKER, prose

if TYPE_CHECKING:
    from tinyllm.evaluation import Choices, Perplexity

_PERPLEXITY = """Say how surprised a model is by a text.

The protocols give different numbers by design, so each stands beside its own:
    chunk    blocks of --context tokens, all but the first token of each scored
    stride   a window that slides on by --stride; every token is scored once
    doc      each document from BOS to EOS, cut at --context tokens
Bits per byte compare across tokenizers, perplexities only for the same one. In
JSON, what is infinite or cannot be said is null.
"""
_CHOICES = """Say how often a model prefers the right one of several continuations.

Each line of FILE is {"prompt": TEXT, "choices": [TEXT, TEXT, …], "answer": INDEX},
where a choice begins with its own space, or has HellaSwag's keys.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the part that the first word names; return its exit code."""
    return run_part("evaluate", __doc__, PARTS, argv)


def perplexity_main(argv: Sequence[str]) -> int:
    """Run the part "perplexity"; return its exit code."""
    parser = Parser(prog="python -m tinyllm.evaluate perplexity", description=_PERPLEXITY)
    add_model(parser)
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="text in UTF-8")
    parser.add_argument(
        "--protocol", choices=["chunk", "stride", "doc"], default="chunk",
        help="how the text is cut (default: chunk)",
    )  # fmt: skip
    parser.add_argument(
        "--context", dest="window", type=whole, metavar="N",
        help="the tokens that are read at once (default: the model's, 2048 at most)",
    )  # fmt: skip
    parser.add_argument(
        "--stride", type=whole, metavar="S", help="for stride (default: half the context)"
    )
    parser.add_argument(
        "--separator", type=separator, default=MARKER, metavar="TEXT",
        help=rf"for doc: what stands between documents, \n\n, say (default: {MARKER})",
    )  # fmt: skip
    parser.add_argument(
        "--bos", action=argparse.BooleanOptionalAction,
        help="begin with BOS (default: as prompts of the model do; in doc, if there is one)",
    )  # fmt: skip
    parser.add_argument(
        "--eos", action=argparse.BooleanOptionalAction,
        help="score EOS at the end, too (default: in doc, if there is one)",
    )  # fmt: skip
    parser.add_argument(
        "--max-tokens", type=whole, metavar="N",
        help="how many tokens are read; what is behind them is left (default: all)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common(parser)
    return run_command(parser, print_perplexity, argv)


def choices_main(argv: Sequence[str]) -> int:
    """Run the part "choices"; return its exit code."""
    parser = Parser(prog="python -m tinyllm.evaluate choices", description=_CHOICES)
    add_model(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="questions, one on each line")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common(parser)
    return run_command(parser, print_choices, argv)


def print_perplexity(args: argparse.Namespace, messages: Messages) -> int:
    """Read the text, score it, print the numbers and what they depend on."""
    from tinyllm.evaluation import measure_perplexity

    require_output()
    where = f"by the protocol {args.protocol}"
    refuse_unread(
        args, (args.protocol != "doc", where, ["separator"]),
        (args.protocol != "stride", where, ["stride"]),
    )  # fmt: skip
    documents = [read_text_file(args.text)]
    if args.protocol != "doc" and MARKER in documents[0]:
        messages.note(f"note: {prose('--protocol doc parts documents there')}")
    if args.protocol == "doc":
        parts = [part.strip("\n") for part in documents[0].split(args.separator)]
        documents = [part for part in parts if part.strip()]
    found = measure_perplexity(
        load_model(args, messages),
        documents,
        protocol=args.protocol,
        context=args.window,
        stride=args.stride,
        bos=args.bos,
        eos=args.eos,
        max_tokens=args.max_tokens,
        report=messages.status,
    )
    messages.clear()
    sys.stdout.write(json_line(asdict(found)) if args.json else perplexity_lines(found) + "\n")
    return 0


def perplexity_lines(found: "Perplexity") -> str:
    """Say it for people: the number, and in the second line all that it depends on."""
    per_byte = "" if found.bits_per_byte is None else f", {found.bits_per_byte:.4f} bits per byte"
    stride = "" if found.stride is None else f", stride {found.stride}"
    ends = [name for name, there in (("BOS", found.bos), ("EOS", found.eos)) if there]
    return (
        f"perplexity {found.ppl:.4f}: {found.nll:.4f} nats a token{per_byte}\n"
        f"protocol {found.protocol}, context {found.context}{stride},"
        f" {' and '.join(ends) or 'neither BOS nor EOS'}; {found.tokens_scored:,} tokens and"
        f" {found.bytes_scored:,} bytes scored of {found.documents:,} texts;"
        f" tokenizer of {found.tokenizer}"
    )


def print_choices(args: argparse.Namespace, messages: Messages) -> int:
    """Read the questions, score their choices, print how many are right."""
    from tinyllm.evaluation import answer_choices, read_questions

    require_output()
    questions = read_questions(read_text_file(args.file), plain(args.file))
    found = answer_choices(load_model(args, messages), questions, messages.status)
    messages.clear()
    sys.stdout.write(json_line(asdict(found)) if args.json else choices_line(found) + "\n")
    return 0


def choices_line(found: "Choices") -> str:
    """Say it for people."""
    return (
        f"acc {found.acc:.4f} by log-probability, acc_norm {found.acc_norm:.4f} by"
        f" log-probability per byte, chance {found.chance:.4f}; {found.questions:,} questions"
    )


PARTS = {
    "perplexity": perplexity_main, "choices": choices_main,
    "masked": masked_main, "translation": translation_main,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
