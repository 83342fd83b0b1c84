"""Draw words: python -m tinyllm.embed plot --vectors FILE --out FILE.svg WORD …

The points are the two principal components of the vectors, scaled to length 1.
Without words, the most frequent are drawn. Needs matplotlib.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tinyllm.cli.arguments import add_common, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.embed.flags import add_vectors, at_least, read_vectors
from tinyllm.cli.terminal import Messages


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.embed plot", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD")
    add_vectors(parser)
    parser.add_argument(
        "--out",
        "-o",
        required=True,
        type=Path,
        metavar="FILE",
        help="the picture: .svg, .png or .pdf",
    )
    parser.add_argument(
        "-n", type=whole, default=60, help="how many words, where none is given (default: 60)"
    )
    add_common(parser)
    return run_command(parser, plot, argv)


def plot(args: argparse.Namespace, messages: Messages) -> int:
    """Project the words' vectors and draw them."""
    from tinyllm.embeddings.drawing import draw_map
    from tinyllm.embeddings.projection import principal_components
    from tinyllm.picture import check_picture

    at_least("-n", args.n, 2)
    check_picture(args.out)
    vectors = read_vectors(args, messages)
    ids = [vectors.number(word) for word in dict.fromkeys(args.words)] or range(
        min(args.n, len(vectors.words))
    )
    points, share = principal_components(vectors.unit[list(ids)])
    draw_map(args.out, [vectors.words[i] for i in ids], points, share, args.vectors.name)
    messages.note(f"wrote {args.out}: {len(ids)} words")
    return 0
