"""Time a model by length: python -m tinyllm.bench decode --model FOLDER

For each length a prompt of so many tokens is read, then --tokens follow, one
at a time. GB/s counts the weights and the keys and values that a token reads.
"""

import argparse
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import add_model, load_model, whole
from tinyllm.cli.bench.table import Row, add_output, check_output, lengths, show
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.model import Model

COLUMNS = ("tokens", "prefill tok/s", "decode tok/s", "spread", "GB/s", "peak MB")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the part; return its exit code."""
    parser = Parser(prog="python -m tinyllm.bench decode", description=__doc__)
    add_model(parser)
    add = parser.add_argument_group("lengths").add_argument
    add("--lengths", "-p", type=lengths, default=[16, 128, 512], metavar="N,N",
        help="tokens of the prompt (default: 16,128,512)")  # fmt: skip
    add("--tokens", "-n", type=whole, default=64, metavar="N",
        help="tokens that follow (default: 64)")  # fmt: skip
    add_output(parser)
    return run_command(parser, bench, argv)


def bench(args: argparse.Namespace, messages: Messages) -> int:
    """Measure every length, and show it."""
    if args.tokens < 2:
        raise UsageError(f"--tokens is {args.tokens}, expected at least 2")
    check_output(args)
    model = load_model(args, messages)
    rows, longest = [], model.config.max_seq_len
    fitting = [n for n in args.lengths if n + args.tokens <= longest]
    if not fitting:
        raise UsageError(
            f"no length fits: the model reads {longest} tokens, expected a shorter -p or -n"
        )
    for n in args.lengths:
        if n not in fitting:
            messages.note(
                f"{n} tokens: left out, for with {args.tokens} more they are beyond the model's "
                f"{longest}"
            )
            continue
        messages.status(f"{n} tokens …")
        rows.append(_row(model, n, args))
    messages.clear()
    return show(rows, COLUMNS, args, line=None, y="decode tok/s")


def _row(model: "Model", n: int, args: argparse.Namespace) -> Row:
    prompt = [i % model.config.vocab_size for i in range(n)]
    options: dict[str, Any] = {"max_tokens": args.tokens, "temperature": 0.0, "ignore_eos": True}
    peak = model.xp.peak_memory(lambda: model.generate(prompt, **options)) / 1e6  # warms up, too
    runs = [model.generate(prompt, **options).timings for _ in range(args.repeat)]
    reading = median(run.prompt_seconds for run in runs)
    steps = sorted(run.decode_seconds / (args.tokens - 1) for run in runs)
    step = median(steps)
    return {
        "tokens": n, "prefill tok/s": n / reading, "decode tok/s": 1 / step,
        "spread": 1 / steps[0] - 1 / steps[-1],
        "GB/s": _bytes_of_a_step(model, n + args.tokens // 2, args.dtype) / step / 1e9,
        "peak MB": peak,
    }  # fmt: skip


def _bytes_of_a_step(model: "Model", tokens: int, dtype: str) -> float:
    """What one token reads: the weights that it passes, and what is kept of those before it."""
    from tinyllm.models.architecture import architecture
    from tinyllm.models.cost import cache_bytes

    params = model.params.values()
    a_number = sum(p.nbytes for p in params) / sum(p.size for p in params)
    weights = architecture(model.config).flops(model.config)[0] / 2  # two operations for each
    return weights * a_number + cache_bytes(model.config, tokens, dtype)
