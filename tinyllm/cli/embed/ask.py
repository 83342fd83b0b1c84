"""The questions to word vectors: neighbours and analogies."""

import argparse
from collections.abc import Sequence

from tinyllm.cli.arguments import add_common, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.embed.flags import (
    add_vectors,
    at_least,
    check_output,
    read_vectors,
    write_json,
    write_lines,
)
from tinyllm.cli.terminal import Messages

NEIGHBOURS = """Which words are near: python -m tinyllm.embed neighbours --vectors FILE WORD …

Prints the words with the largest cosine, the nearest first.
"""
ANALOGY = """What is to C as B is to A: python -m tinyllm.embed analogy --vectors FILE A B C

Prints the words with the largest cosine with B - A + C, other than the three.
"""


def neighbours_main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.embed neighbours", description=NEIGHBOURS)
    parser.add_argument("words", nargs="+", metavar="WORD")
    _add_answer(parser)
    return run_command(parser, neighbours, argv)


def analogy_main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.embed analogy", description=ANALOGY)
    for name in "abc":
        parser.add_argument(name, metavar=name.upper())
    _add_answer(parser)
    return run_command(parser, analogy, argv)


def _add_answer(parser: argparse.ArgumentParser) -> None:
    add_vectors(parser)
    parser.add_argument("-n", type=whole, default=10, help="how many words (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a question")
    add_common(parser)


def neighbours(args: argparse.Namespace, messages: Messages) -> int:
    """Answer for every word, or for none where one is unknown."""
    check_output()
    at_least("-n", args.n)
    vectors = read_vectors(args, messages)
    found = {word: vectors.neighbours(word, args.n) for word in args.words}
    for word, near in found.items():
        if args.json:
            write_json({"word": word, "neighbours": _fields(near)})
            continue
        if len(found) > 1:
            write_lines([f"{word}:"])
        write_lines(_table(near))
    return 0


def analogy(args: argparse.Namespace, messages: Messages) -> int:
    """Answer one question."""
    check_output()
    at_least("-n", args.n)
    near = read_vectors(args, messages).analogy(args.a, args.b, args.c, args.n)
    if args.json:
        write_json({"a": args.a, "b": args.b, "c": args.c, "answers": _fields(near)})
    else:
        write_lines(_table(near))
    return 0


def _table(near: Sequence[tuple[str, float]]) -> list[str]:
    width = max((len(word) for word, _ in near), default=0)
    return [f"{word:<{width}}  {cosine:.4f}" for word, cosine in near]


def _fields(near: Sequence[tuple[str, float]]) -> list[dict[str, object]]:
    return [{"word": word, "cosine": round(cosine, 6)} for word, cosine in near]
