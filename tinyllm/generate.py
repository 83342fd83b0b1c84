r"""Continue a prompt: python -m tinyllm.generate --model FOLDER "Once upon a time"

The answer goes to stdout, everything else to stderr. A token is chosen in this
order: logit bias, repetition penalty, temperature, top-k, top-p, min-p, draw.
Temperature 0 always takes the likeliest token, which makes models that were not
tuned for chat repeat themselves.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinyllm.cli.arguments import TIE, add_common, add_model, real, token_bias, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages, is_terminal, peak_memory, printable, speed
from tinyllm.cli.text_input import add_prompt, read_prompt

if TYPE_CHECKING:
    from tinyllm.inference.generation import Generation


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.generate", description=__doc__)
    add_prompt(parser)
    add_model(parser)
    _add_choice(parser)
    _add_output(parser)
    add_common(parser)
    return run_command(parser, generate, argv)


def generate(args: argparse.Namespace, messages: Messages) -> int:
    """Load the model, stream the answer."""
    from tinyllm.errors import UsageError
    from tinyllm.inference.generation import GenerationOptions, rng_for
    from tinyllm.model import load

    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the answer")
    options = {name: getattr(args, name) for name in _OPTIONS} | {
        "logit_bias": dict(args.logit_bias),
        "use_cache": not args.no_cache,
    }
    GenerationOptions(**options)  # complain of a number before a long load
    rng_for(args.seed or 0, 0)
    prompt = read_prompt(args)
    messages.status(f"loading {args.model} …")
    model = load(args.model, backend=args.backend, dtype=args.dtype, tie=TIE[args.tie])
    run = model.run([prompt], **options)
    messages.status(f"reading {len(run.rows[0].prompt)} tokens …")

    show = printable if is_terminal(sys.stdout) else str
    written = show(prompt) if args.echo else ""
    for _, piece in run:
        messages.clear()
        written += show(piece)
        if not args.no_stream:
            sys.stdout.write(written)
            sys.stdout.flush()
            written = ""
    sys.stdout.write(written + "\n")
    sys.stdout.flush()
    by_default = is_terminal(sys.stderr) and not args.quiet
    if by_default if args.stats is None else args.stats:
        messages.say(stats_line(run.results()[0]))
    return 0


def stats_line(result: "Generation") -> str:
    """Say how fast it went and how to repeat it, in one line."""
    read, drawn, timings = result.prompt_tokens, len(result.tokens), result.timings
    parts = [
        f"prompt {read} tok{speed(read, timings.prompt_seconds)}",
        # The first token comes out of the prompt's pass.
        f"generated {drawn} tok{speed(drawn - 1, timings.decode_seconds)}",
        f"peak {peak_memory()}" if peak_memory() else "",
        f"seed {result.seed}",
        f"stop: {result.finish_reason}",
    ]
    return " · ".join(part for part in parts if part)


# The flags that are fields of GenerationOptions.
_OPTIONS = (
    "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "repeat_last_n",
    "seed", "stop", "ignore_eos", "context",
)  # fmt: skip


def _add_choice(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("choice of tokens")
    add = group.add_argument
    add("--max-tokens", "-n", "--max-new-tokens", "--max_new_tokens", type=whole, default=256,
        metavar="N", help="the longest answer (default: 256)")  # fmt: skip
    add("--temperature", "-t", "--temp", type=real, default=0.8, metavar="X",
        help="how freely to draw; 0 takes the likeliest token (default: 0.8)")  # fmt: skip
    add("--top-k", type=whole, default=0, metavar="N", help="draw from the N likeliest (0: off)")
    add("--top-p", type=real, default=0.95, metavar="X",
        help="draw from the fewest that reach X together (1: off; default: 0.95)")  # fmt: skip
    add("--min-p", type=real, default=0.0, metavar="X",
        help="drop what is less likely than X times the likeliest (default: 0, off)")  # fmt: skip
    add("--repetition-penalty", "--repeat-penalty", type=real, default=1.0, metavar="X",
        help="make tokens seen before less likely, above 1 (default: 1, off)")  # fmt: skip
    add("--repeat-last-n", type=whole, metavar="N",
        help="only those among the last N (default: all)")  # fmt: skip
    add("--logit-bias", type=token_bias, action="append", default=[], metavar="ID=X",
        help="add X to the score of a token; may be repeated")  # fmt: skip
    add("--seed", type=whole, metavar="N", help="repeat a draw (default: a new one, printed)")
    add("--stop", action="append", default=[], metavar="TEXT",
        help="end before this text; may be repeated")  # fmt: skip
    add("--ignore-eos", action="store_true", help="go on past the end of the text")
    add("--ctx", dest="context", type=whole, metavar="N",
        help="the most tokens of prompt and answer (default: the model's)")  # fmt: skip
    add("--no-cache", action="store_true", help="compute every token anew: slow; to learn and test")


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--echo", action="store_true", help="print the prompt before the answer")
    group.add_argument("--no-stream", action="store_true", help="print the answer when it is whole")
    group.add_argument(
        "--stats", action=argparse.BooleanOptionalAction,
        help="print the speeds and the seed on stderr (default: on a terminal)",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
