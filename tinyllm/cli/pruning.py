"""The flags of python -m tinyllm.prune."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.cli.arguments import real, refuse_unread, whole
from tinyllm.cli.minitron import MINITRON, check_minitron
from tinyllm.cli.text_input import separator
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.compression.llm_pruner import Choice
    from tinyllm.compression.masks import Pattern

WEIGHTS = ("magnitude", "wanda", "sparsegpt")  # methods that put zeros in matrices
DEPTH = ("linearity", "influence")  # methods that remove whole blocks
GROUPS = "llm-pruner"  # removes heads and channels
SAMPLES, SEQLEN = 128, 2048
GROUP_SAMPLES, GROUP_SEQLEN, GROUP_SPARSITY = 10, 128, 0.25  # of LLM-Pruner's paper
ACTIVITY_SAMPLES = 1024  # of Minitron's paper
EVALUATED = 2**15  # tokens
IMPORTANCES = ("vector", "element1", "element2", "mix", "l1", "l2", "random")
AGGREGATES = ("sum", "product", "max", "last")


def add_pruning(parser: argparse.ArgumentParser) -> None:
    """Add what is removed, and by what."""
    group = parser.add_argument_group("what goes")
    add = group.add_argument
    add("--method", choices=[*WEIGHTS, *DEPTH, GROUPS, MINITRON], default="wanda", metavar="NAME",
        help=f"what decides what goes: {', '.join((*WEIGHTS, *DEPTH, GROUPS))} or {MINITRON} "
        "(default: wanda)")  # fmt: skip
    add("--sparsity", "--sparsity-ratio", "--sparsity_ratio", type=real, metavar="X",
        help="the share of weights to make zero, below 1 (default: 0.5); llm-pruner: of heads and "
        f"channels to remove (default: {GROUP_SPARSITY})")  # fmt: skip
    add("--pattern", "--sparsity-type", "--sparsity_type", metavar="P",
        help="where zeros may be: unstructured, or N:M like 2:4 and 4:8, which makes N of every M "
        "inputs zero (default: unstructured)")  # fmt: skip
    add("--compare", choices=["row", "matrix", "layer", "model"],
        help="among which the lowest go: for unstructured pruning the weights of the row or the "
        "matrix (default: the matrix for magnitude, the row for wanda); for llm-pruner the groups "
        "of the layer or of the model (default: the layer)")  # fmt: skip
    add("--skip", action="append", default=[], metavar="NAME",
        help="leave matrices dense with this between the dots of their name: down_proj, or 0 for "
        "block 0; may be repeated")  # fmt: skip
    add("--remove", type=whole, metavar="N",
        help="linearity and influence: how many blocks to remove")  # fmt: skip
    add("--replace", choices=["at-once", "in-order"],
        help="linearity and influence: put a linear map in the place of each, fitted to the dense "
        "model, or after those before it have been replaced")  # fmt: skip
    add("--structure", choices=["block", "channel"],
        help="llm-pruner: remove heads and feed-forward channels of blocks, or channels of the "
        "whole model (default: block)")  # fmt: skip
    add("--layers", type=layers, metavar="A-B|N",
        help="llm-pruner: the blocks to prune, both included (default: all but the first eighth "
        "and the last sixteenth); minitron: how many to keep")  # fmt: skip
    add("--importance", metavar="HOW",
        help=f"llm-pruner: what a group is worth, one of {', '.join(IMPORTANCES)} (default: "
        "element1); minitron: how activations are put together over texts and tokens, each one of "
        "mean, l2, var (default: l2-mean)")  # fmt: skip
    add("--aggregate", choices=AGGREGATES,
        help="llm-pruner: how its parts are put together (default: sum)")  # fmt: skip


def add_texts(parser: argparse.ArgumentParser) -> None:
    """Add the texts that calibrate and measure."""
    group = parser.add_argument_group("texts, or .npy and .bin files of token ids")
    add = group.add_argument
    add("--calib", metavar="FILE", help="what the model reads to tell what matters; not "
        "for magnitude")  # fmt: skip
    add("--samples", "--nsamples", type=whole, metavar="N",
        help=f"how many samples of it (default: {SAMPLES}, or as many as there are; "
        f"llm-pruner: {GROUP_SAMPLES}, minitron: {ACTIVITY_SAMPLES})")  # fmt: skip
    add("--seqlen", "--seq-len", type=whole, metavar="N",
        help=f"tokens of a sample (default: {SEQLEN}, or the model's context; "
        f"llm-pruner: {GROUP_SEQLEN})")  # fmt: skip
    add("--seed", type=whole, default=0, metavar="N", help="which samples (default: 0)")
    add("--eval", metavar="FILE",
        help="what perplexity is measured on (default: the calibration text)")  # fmt: skip
    add("--eval-tokens", type=whole, default=EVALUATED, metavar="N",
        help=f"how much of it is read; 0: measure nothing (default: {EVALUATED})")  # fmt: skip
    add("--separator", type=separator, metavar="TEXT",
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
    """Refuse what cannot be, before anything is read, and fill in what is left to the method."""
    depth, groups = args.method in DEPTH, args.method == GROUPS
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the answer")
    if args.storage not in (None, args.dtype):
        raise UsageError("the pruned weights keep the file's dtype: --storage has no use here")
    if depth and (args.sparsity, args.pattern, args.compare, args.skip) != (None, None, None, []):
        raise UsageError(f"{args.method} removes blocks: say how many with --remove alone")
    if args.replace is not None and not depth:
        raise UsageError(f"{args.method} removes no blocks: leave out --replace")
    minitron = args.method == MINITRON
    if not groups and (args.structure or args.aggregate):
        raise UsageError("--structure and --aggregate are for llm-pruner")
    if not groups and not minitron and (args.layers is not None or args.importance):
        raise UsageError("--layers and --importance are for llm-pruner and minitron")
    if groups and (args.pattern, args.skip) != (None, []):
        raise UsageError("llm-pruner removes groups: --pattern and --skip are of no use")
    check_minitron(args, minitron)
    if depth != (args.remove is not None):
        what = "needs --remove N" if depth else "removes no blocks: leave out --remove"
        raise UsageError(f"{args.method} {what}")
    if args.calib is None and reads_text(args):
        raise UsageError(f"{args.method} needs a text to calibrate on: give it with --calib")
    by_chance = args.method == GROUPS and args.importance == "random"
    without = args.calib is None and args.eval is None
    refuse_unread(
        args, (without, "without --calib or --eval", ["samples", "seqlen", "separator"]),
        (without and args.eval_tokens > 0, "without --calib or --eval", ["eval_tokens"]),
        (without and not by_chance, "without --calib or --eval", ["seed"]),
    )  # fmt: skip
    if args.eval_tokens < 0 or args.eval_tokens == 1:
        raise UsageError(f"--eval-tokens is {args.eval_tokens}, expected 0 or at least 2")
    if groups:
        choice_of(args)
    elif not depth and not minitron:
        pattern_of(args)
    if args.samples is None:
        args.samples = {GROUPS: GROUP_SAMPLES, MINITRON: ACTIVITY_SAMPLES}.get(args.method, SAMPLES)
    args.seqlen = (GROUP_SEQLEN if groups else SEQLEN) if args.seqlen is None else args.seqlen


def layers(text: str) -> range | int:
    """Read A-B, both included, or N."""
    first, dash, last = text.partition("-")
    if not dash and first.isdecimal() and 0 < int(first) < 10**6:
        return int(first)
    if not (dash and first.isdecimal() and last.isdecimal() and int(first) <= int(last) < 10**6):
        raise argparse.ArgumentTypeError(f"{text!r} is not A-B, like 1-4, or a number of layers")
    return range(int(first), int(last) + 1)


def reads_text(args: argparse.Namespace) -> bool:
    """Whether a text tells what goes, not the weights alone, chance, or the flags."""
    if args.method == MINITRON:
        return (args.ffn, args.heads, args.width, args.layers) != (None,) * 4
    weights_alone = args.method == GROUPS and args.importance in ("l1", "l2", "random")
    return args.method != "magnitude" and not weights_alone


def choice_of(args: argparse.Namespace) -> "Choice":
    """Return what the flags say of LLM-Pruner."""
    from tinyllm.compression.llm_pruner import BLOCK, CHANNEL, LAYER, MODEL, Choice

    if args.importance not in (None, *IMPORTANCES):
        raise UsageError(
            f"--importance is {args.importance!r}, expected one of {', '.join(IMPORTANCES)}"
        )
    if isinstance(args.layers, int):
        raise UsageError("--layers N is for minitron: llm-pruner takes A-B, like 1-4")
    if args.compare not in (None, LAYER, MODEL):
        raise UsageError(f"--compare {args.compare} is for unstructured pruning")
    if args.structure == CHANNEL and (args.layers is not None or args.compare is not None):
        raise UsageError("channels go from the whole model: leave out --layers and --compare")
    return Choice(
        sparsity=GROUP_SPARSITY if args.sparsity is None else args.sparsity,
        structure=args.structure or BLOCK,
        layers=args.layers,
        importance=args.importance or "element1",
        aggregate=args.aggregate or "sum",
        within=args.compare or LAYER,
        seed=args.seed,
    )


def pattern_of(args: argparse.Namespace) -> "Pattern":
    """Return the pattern that the flags name."""
    from tinyllm.compression.masks import MATRIX, ROW, read_pattern
    from tinyllm.compression.pruning import METHODS

    name, own = args.pattern or "unstructured", METHODS[args.method].within
    if args.compare not in (None, ROW, MATRIX):
        raise UsageError(f"--compare {args.compare} is for llm-pruner")
    if args.compare is not None and (own is None or name != "unstructured"):
        raise UsageError("--compare is for unstructured pruning by magnitude or wanda")
    return read_pattern(name, args.sparsity, args.compare or own or ROW)
