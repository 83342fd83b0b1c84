"""Judge word vectors: python -m tinyllm.embed evaluate --vectors FILE …

--similarity takes ratings like WordSim-353's or SimLex-999's (word TAB word TAB
number): Spearman's correlation of ratings and cosines. --analogies takes
questions like questions-words.txt: the share that is answered right. Questions
with a word that has no vector are left out, and counted.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.cli.arguments import add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.embed.flags import (
    add_vectors,
    check_output,
    read_vectors,
    write_json,
    write_lines,
)
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.embeddings.evaluation import Score


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.embed evaluate", description=__doc__)
    add_vectors(parser)
    for flag in ("--similarity", "--analogies"):
        parser.add_argument(flag, nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one JSON object a score")
    add_common(parser)
    return run_command(parser, evaluate, argv)


def evaluate(args: argparse.Namespace, messages: Messages) -> int:
    """Print a score for each file, and for each section of analogies."""
    from tinyllm.embeddings.evaluation import evaluate_analogies, evaluate_similarity

    check_output()
    if not args.similarity and not args.analogies:
        raise UsageError("there is nothing to judge by: give --similarity or --analogies, a file")
    vectors = read_vectors(args, messages)
    scores = [("Spearman", evaluate_similarity(vectors, path)) for path in args.similarity]
    for path in args.analogies:
        scores += [("accuracy", score) for score in evaluate_analogies(vectors, path)]
    if args.json:
        for kind, score in scores:
            value = None if math.isnan(score.score) else round(score.score, 6)
            write_json({"kind": kind} | asdict(score) | {"score": value})
        return 0
    width = max(len(score.name) for _, score in scores)
    write_lines(_row(kind, score, width) for kind, score in scores)
    return 0


def _row(kind: str, score: "Score", width: int) -> str:
    value = "none" if math.isnan(score.score) else f"{score.score:.4f}"
    return f"{score.name:<{width}}  {kind} {value:>7}  {score.covered:,} of {score.questions:,}"
