"""Time attention by length: python -m tinyllm.bench attention

    formula   O = softmax(Q Kᵀ) V with all N² scores in memory
    flash     the same in tiles, as tinyllm.ops.flash has it
    backend   as models compute it

Lengths whose scores would not fit into memory are left out of `formula`.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import add_backend, whole
from tinyllm.cli.bench.table import Row, add_output, check_output, lengths, measured, show
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.backend import Backend

KINDS = ("formula", "flash", "backend")
COLUMNS = ("kind", "tokens", "milliseconds", "spread", "GFLOP/s", "peak MB")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the part; return its exit code."""
    parser = Parser(prog="python -m tinyllm.bench attention", description=__doc__)
    add = parser.add_argument_group("attention").add_argument
    add("--kinds", default=",".join(KINDS), metavar="A,B", help="which (default: all)")
    add("--lengths", "-p", type=lengths, default=[256, 512, 1024, 2048], metavar="N,N",
        help="tokens (default: 256,512,1024,2048)")  # fmt: skip
    add("--batch", type=whole, default=1, metavar="N", help="texts (default: 1)")
    add("--heads", type=whole, default=8, metavar="N", help="query heads (default: 8)")
    add("--kv-heads", type=whole, metavar="N", help="key heads (default: as --heads)")
    add("--head-dim", type=whole, default=64, metavar="N", help="features (default: 64)")
    add("--window", type=whole, metavar="N", help="keys that a query sees (default: all before it)")
    add("--full", action="store_true", help="let every query see every key")
    add("--backward", action="store_true", help="forward and backward, not forward alone")
    add("--dtype", choices=["float32", "float64"], default="float32")
    add_backend(parser)
    add_output(parser)
    return run_command(parser, bench, argv)


def bench(args: argparse.Namespace, messages: Messages) -> int:
    """Measure every kind at every length, and show it."""
    from tinyllm.backend import get_backend

    kinds = args.kinds.split(",")
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"there is no kind {kind!r}; there are {', '.join(KINDS)}")
    _check(args)
    check_output(args)
    xp = get_backend(args.backend)
    rows = []
    for n in args.lengths:
        for kind in kinds:
            messages.status(f"{kind}, {n} tokens …")
            if kind == "formula" and not _fits(xp, args, n):
                messages.note(
                    f"formula, {n} tokens: left out, its scores take more memory than is free"
                )
                continue
            rows.append(_row(xp, kind, n, args))
    messages.clear()
    return show(rows, COLUMNS, args, line="kind", y="milliseconds")


def _check(args: argparse.Namespace) -> None:
    args.kv_heads = args.heads if args.kv_heads is None else args.kv_heads
    for name in ("batch", "heads", "kv_heads", "head_dim"):
        if getattr(args, name) < 1:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is {getattr(args, name)}, expected at least 1")
    if args.heads % args.kv_heads:
        raise UsageError(f"{args.heads} heads cannot share {args.kv_heads} key heads evenly")
    if args.window is not None and (args.window < 1 or args.full):
        raise UsageError("--window is at least 1, and not with --full")


def _fits(xp: "Backend", args: argparse.Namespace, n: int) -> bool:
    itemsize = 8 if args.dtype == "float64" else 4
    needed = (6 if args.backward else 4) * itemsize * args.batch * args.heads * n * n
    return needed < (xp.free_memory() or 2**33)


def _row(xp: "Backend", kind: str, n: int, args: argparse.Namespace) -> Row:
    import numpy as np

    from tinyllm.ops.position_mask import PositionMask

    rng, dtype = np.random.default_rng(n), getattr(np, args.dtype)
    q, k, v, dy = (
        xp.asarray(rng.standard_normal((args.batch, heads, n, args.head_dim)).astype(dtype))
        for heads in (args.heads, args.kv_heads, args.kv_heads, args.heads)
    )
    positions = np.arange(n)
    mask = PositionMask(queries=positions, keys=positions, causal=not args.full, window=args.window)
    forward, backward = _pair(xp, kind)

    def call() -> None:
        _, saved = forward(q, k, v, None, mask=mask)
        if args.backward:
            backward(dy, saved)
        xp.synchronize()

    seconds, peak = measured(xp, call, args.repeat)
    return {
        "kind": kind, "tokens": n, "milliseconds": 1e3 * seconds[0], "spread": 1e3 * seconds[1],
        "GFLOP/s": _operations(kind, args, n) / seconds[0] / 1e9, "peak MB": peak,
    }  # fmt: skip


def _pair(xp: "Backend", kind: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    from functools import partial

    from tinyllm.ops import attention, flash

    match kind:
        case "formula":
            pair: Any = attention.attention_forward, attention.attention_backward
        case "flash":
            pair = flash.flash_attention_forward, flash.flash_attention_backward
        case _:
            return xp.attention_forward, xp.attention_backward
    return partial(pair[0], xp), partial(pair[1], xp)


def _operations(kind: str, args: argparse.Namespace, n: int) -> float:
    """Count what the kind of attention needs for the scores that count, in products of d numbers.

    Two forward, QKᵀ and PV; four back, dP, dV, dQ and dK, and QKᵀ again where no P was kept.
    """
    back = 4 if kind == "formula" else 5
    width = n if args.window is None else min(args.window, n)
    scores = n * n if args.full else width * n - width * (width - 1) / 2
    return 2 * (2 + back if args.backward else 2) * args.batch * args.heads * args.head_dim * scores
