"""The flags of python -m tinyllm.prune --method minitron."""

import argparse

from tinyllm.cli.arguments import whole
from tinyllm.errors import UsageError

MINITRON = "minitron"  # removes heads, neurons, channels and blocks, until so many are left


def add_minitron(parser: argparse.ArgumentParser) -> None:
    """Add how much is to be left, and what tells which."""
    add = parser.add_argument_group("what minitron keeps, beside --layers").add_argument
    for flag, what in (("--ffn", "neurons of a feed-forward layer"),
                       ("--heads", "query heads of a layer"),
                       ("--width", "channels of the residual stream")):  # fmt: skip
        add(flag, type=whole, metavar="N", help=f"minitron: how many {what} to keep")
    add("--drop-layers", type=numbers, metavar="I,J", help="minitron: which blocks to remove")
    add("--depth-by", choices=["perplexity", "influence"],
        help="minitron: what tells which blocks to keep (default: perplexity)")  # fmt: skip
    add("--merge-heads", action="store_true",
        help="minitron: add to heads that stay what sets them apart from others")  # fmt: skip


def check_minitron(args: argparse.Namespace, minitron: bool) -> None:
    """Refuse what is of no use to the method, or contradicts itself."""
    widths = (args.ffn, args.heads, args.width)
    depths = (args.drop_layers, args.depth_by)
    if not minitron:
        if (widths, depths, args.merge_heads) != ((None,) * 3, (None,) * 2, False):
            raise UsageError(
                "--ffn, --heads, --width, --drop-layers, --depth-by and --merge-heads are for "
                "minitron"
            )
        return
    if (args.sparsity, args.pattern, args.compare, args.skip) != (None, None, None, []):
        raise UsageError("minitron is told how much to keep: say it with --ffn, --heads, --width")
    if isinstance(args.layers, range):
        raise UsageError("--layers A-B is for llm-pruner: minitron takes how many are kept")
    if args.layers is not None and args.drop_layers is not None:
        raise UsageError("--layers and --drop-layers both say what depth is left: give one")
    if args.depth_by is not None and args.layers is None:
        raise UsageError("--depth-by tells which blocks --layers N keeps: give that, too")
    if args.importance is not None and widths == (None,) * 3:
        raise UsageError("--importance tells which units go: give --ffn, --heads or --width, too")
    if args.merge_heads and args.heads is None:
        raise UsageError("--merge-heads is of use with --heads N")
    if all(x is None for x in (*widths, args.layers, args.drop_layers)):
        raise UsageError(
            "minitron is told how much to keep: give --ffn, --heads, --width, --layers or "
            "--drop-layers"
        )


def numbers(text: str) -> list[int]:
    """Read whole numbers with commas between."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) < 10**6 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not I,J, like 2,5")
    return sorted({int(part) for part in parts})
