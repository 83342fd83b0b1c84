r"""Continue a prompt: python -m tinyllm.generate --model FOLDER "Once upon a time"

The answer goes to stdout, everything else to stderr. A token is chosen in this
order: logit bias, repetition penalty, temperature, top-k, top-p, min-p, draw.
Temperature 0 always takes the likeliest token, which makes models that were not
tuned for chat repeat themselves.

To a model that was tuned for chat, the prompt is a message, put into its chat
template, as python -m tinyllm.chat does. --raw continues the text as it stands.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tinyllm.cli import color
from tinyllm.cli.arguments import add_color, add_common, add_model, load_model, refuse_unread, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.generation import add_choice, add_template, choose_template, generation_options
from tinyllm.cli.report import json_line, prompt_lines, stats_line
from tinyllm.cli.terminal import Messages, is_terminal, printable
from tinyllm.cli.text_input import add_prompt, read_prompt
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.inference.generation import Run
    from tinyllm.inference.templates import Template
    from tinyllm.model import Model


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.generate", description=__doc__)
    add_prompt(parser)
    add_model(parser)
    group = add_template(parser)
    group.add_argument("--raw", action="store_true", help="no template: continue the text")
    group.add_argument(
        "--parse-special", action="store_true",
        help="in a raw text, read tokens like <|eot_id|> as what they mean",
    )  # fmt: skip
    add_choice(parser)
    _add_output(parser)
    add_common(parser)
    return run_command(parser, generate, argv)


def generate(args: argparse.Namespace, messages: Messages) -> int:
    """Load the model, print the answers."""
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the answer")
    options = _options(args)
    text = read_prompt(args)
    template = None if args.raw else choose_template(args)
    if args.system is not None and template is None:
        raise UsageError("the model has no chat template for --system; --template chooses one")
    if args.parse_special and template is not None:
        raise UsageError("--parse-special is for raw texts: add --raw")
    model = load_model(args, messages)
    prompt = _prompt(model, text, template, args)
    if template is not None:
        from tinyllm.inference.templates import end_ids

        options["stop_tokens"] = end_ids(model.tokenizer, template)  # type: ignore[arg-type]
        options["stop"] = [*options["stop"], *template.end_strings]
    if args.show_prompt:
        for line in prompt_lines(model.tokenizer, prompt):
            messages.say(line)
    show_stats = is_terminal(sys.stderr) and not (args.quiet or args.json)
    for first, run in _runs(model, prompt, args, options):
        messages.status(f"reading {len(prompt)} tokens …")
        _print(first, run, text, args, messages)
        if show_stats if args.stats is None else args.stats:
            messages.say(stats_line(run.results()))
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Check and return the fields of GenerationOptions, before anything is read."""
    for flag, value in (("--num-samples", args.num_samples), ("--batch-size", args.batch_size)):
        if value < 1:
            raise UsageError(f"{flag} is {value}, expected at least 1")
    if args.raw and (args.template or args.system is not None):
        raise UsageError("--raw means no template, so --template and --system have no use with it")
    refuse_unread(args, (args.json, "with --json", ["echo", "no_stream"]))
    if args.logprobs is not None and not args.json:
        raise UsageError("--logprobs are printed with --json only")
    return generation_options(args, logprobs=args.logprobs)


def _prompt(
    model: "Model", text: str, template: "Template | None", args: argparse.Namespace
) -> list[int]:
    """Return the ids to continue, through the template if there is one."""
    from tinyllm.inference.generation import check_length
    from tinyllm.inference.templates import chat_prompt

    if model.tokenizer is not None:
        check_length(model.tokenizer.encode, text, args.context or model.config.max_seq_len)
    if template is not None and model.tokenizer is not None:
        system = [] if args.system is None else [{"role": "system", "content": args.system}]
        messages = [*system, {"role": "user", "content": text}]
        return chat_prompt(model.tokenizer, template, messages)
    if args.parse_special and model.tokenizer is not None:
        ids = model.tokenizer.encode(text, bos=model.tokenizer.add_bos, allow_special=True)
        return model.encode_prompt(ids)
    return model.encode_prompt(text)


def _runs(
    model: "Model", prompt: list[int], args: argparse.Namespace, options: dict[str, Any]
) -> Iterator[tuple[int, "Run"]]:
    """Yield the number of a batch's first sample, and the batch; sample i draws as text i does."""
    from tinyllm.inference.generation import rng_for

    for first in range(0, args.num_samples, args.batch_size):
        count = min(args.batch_size, args.num_samples - first)
        run = model.run([prompt] * count, **options)
        options["seed"] = run.seed
        for index, row in enumerate(run.rows):
            row.rng = rng_for(run.seed, first + index)
        yield first, run


def _print(first: int, run: "Run", text: str, args: argparse.Namespace, messages: Messages) -> None:
    """Print the samples of a batch: one alone as it grows, several when they are whole."""
    show = printable if is_terminal(sys.stdout) else str
    streams = len(run.rows) == 1 and not (args.no_stream or args.json)
    dim = color.wanted(args.color, sys.stdout)
    echo = color.paint(show(text), color.DIM, on=dim) if args.echo else ""

    def head(index: int) -> str:
        return ("---\n" if index else "") + echo

    waiting = head(first)
    for _, piece in run:
        messages.clear()
        if streams:
            sys.stdout.write(waiting + show(piece))
            sys.stdout.flush()
            waiting = ""
    for index, result in enumerate(run.results(), first):
        if args.json:
            line = json_line(result, sample=index, prompt=text, prompt_ids=run.rows[0].prompt)
        else:
            line = "" if streams else head(index) + show(result.text)
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--num-samples", type=whole, default=1, metavar="N",
        help="answer N times, with --- in between (default: 1)")  # fmt: skip
    add("--batch-size", type=whole, default=1, metavar="N",
        help="compute N of them at once (default: 1)")  # fmt: skip
    add("--json", action="store_true",
        help="print one JSON object a sample: text, ids, speeds and more")  # fmt: skip
    add("--logprobs", type=whole, metavar="N",
        help="with --json: the log-probability of each token, and of the N likeliest")  # fmt: skip
    add("--echo", action="store_true", help="print the prompt before the answer")
    add("--show-prompt", action="store_true", help="print the prompt's ids and text on stderr")
    add("--no-stream", action="store_true", help="print the answer when it is whole")
    add("--stats", action=argparse.BooleanOptionalAction,
        help="print the speeds and the seed on stderr (default: on a terminal)")  # fmt: skip
    add_color(group)


if __name__ == "__main__":
    sys.exit(main())
