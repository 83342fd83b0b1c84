"""The flags of python -m tinyllm.prune."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.cli.arguments import real, whole
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.compression.masks import Pattern

WEIGHTS = ("magnitude", "wanda", "sparsegpt")  # methods that put zeros in matrices
DEPTH = ("linearity", "influence")  # methods that remove whole blocks
SAMPLES, SEQLEN = 128, 2048
EVALUATED = 2**15  # tokens


def add_pruning(parser: argparse.ArgumentParser) -> None:
    """Add what is removed, and by what."""
    group = parser.add_argument_group("what goes")
    add = group.add_argument
    add("--method", choices=[*WEIGHTS, *DEPTH], default="wanda", metavar="NAME",
        help=f"what decides what goes: {', '.join(WEIGHTS)}, {' or '.join(DEPTH)} "
        "(default: wanda)")  # fmt: skip
    add("--sparsity", "--sparsity-ratio", "--sparsity_ratio", type=real, metavar="X",
        help="the share of weights to make zero, below 1 (default: 0.5)")  # fmt: skip
    add("--pattern", "--sparsity-type", "--sparsity_type", metavar="P",
        help="where zeros may be: unstructured, or N:M like 2:4 and 4:8, which makes N of every M "
        "inputs zero (default: unstructured)")  # fmt: skip
    add("--compare", choices=["row", "matrix"],
        help="unstructured: among which weights the lowest go (default: the matrix for "
        "magnitude, the row for wanda)")  # fmt: skip
    add("--skip", action="append", default=[], metavar="NAME",
        help="leave matrices dense with this part in their name, like down_proj or 0")  # fmt: skip
    add("--remove", type=whole, metavar="N",
        help="linearity and influence: how many blocks to remove")  # fmt: skip


def add_texts(parser: argparse.ArgumentParser) -> None:
    """Add the texts that calibrate and measure."""
    group = parser.add_argument_group("texts, or .npy and .bin files of token ids")
    add = group.add_argument
    add("--calib", metavar="FILE", help="what the model reads to tell what matters; not "
        "for magnitude")  # fmt: skip
    add("--samples", "--nsamples", type=whole, default=SAMPLES, metavar="N",
        help=f"how many samples of it (default: {SAMPLES}, or as many as there are)")  # fmt: skip
    add("--seqlen", "--seq-len", type=whole, default=SEQLEN, metavar="N",
        help=f"tokens of a sample (default: {SEQLEN}, or the model's context)")  # fmt: skip
    add("--seed", type=whole, default=0, metavar="N", help="which samples (default: 0)")
    add("--eval", metavar="FILE",
        help="what perplexity is measured on (default: the calibration text)")  # fmt: skip
    add("--eval-tokens", type=whole, default=EVALUATED, metavar="N",
        help=f"how much of it is read; 0: measure nothing (default: {EVALUATED})")  # fmt: skip
    add("--separator", metavar="TEXT",
        help="what stands between the documents of a text; each begins with BOS")  # fmt: skip


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add where the answer goes."""
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--out", "-o", required=True, type=Path, metavar="DIR", help="must not exist yet")
    add("--report", action="store_true",
        help="put report.json, report.md and a picture into DIR")  # fmt: skip
    add("--json", action="store_true", help="print the report as one JSON object")


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is read."""
    depth = args.method in DEPTH
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the answer")
    if args.storage not in (None, args.dtype):
        raise UsageError("the pruned weights keep the file's dtype: --storage has no use here")
    if depth and (args.sparsity, args.pattern, args.compare, args.skip) != (None, None, None, []):
        raise UsageError(f"{args.method} removes blocks: say how many with --remove alone")
    if depth != (args.remove is not None):
        what = "needs --remove N" if depth else "removes no blocks: leave out --remove"
        raise UsageError(f"{args.method} {what}")
    if args.calib is None and args.method != "magnitude":
        raise UsageError(f"{args.method} needs a text to calibrate on: give it with --calib")
    if args.eval_tokens < 0 or args.eval_tokens == 1:
        raise UsageError(f"--eval-tokens is {args.eval_tokens}, expected 0 or at least 2")
    if not depth:
        pattern_of(args)


def pattern_of(args: argparse.Namespace) -> "Pattern":
    """Return the pattern that the flags name."""
    from tinyllm.compression.masks import ROW, read_pattern
    from tinyllm.compression.pruning import METHODS

    name, own = args.pattern or "unstructured", METHODS[args.method].within
    if args.compare is not None and (own is None or name != "unstructured"):
        raise UsageError("--compare is for unstructured pruning by magnitude or wanda")
    return read_pattern(name, args.sparsity, args.compare or own or ROW)
