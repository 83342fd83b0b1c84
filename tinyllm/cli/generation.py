"""The flags that say how to generate, and which chat template to use."""

import argparse
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import real, token_bias, whole

if TYPE_CHECKING:
    from tinyllm.inference.templates import Template

# The names of tinyllm.inference.templates.TEMPLATES, which are not worth loading NumPy for --help.
TEMPLATE_NAMES = ("llama2", "llama3", "llama3.1", "mistral", "chatml", "plain")

# The flags that are fields of GenerationOptions.
_OPTIONS = (
    "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "repeat_last_n",
    "seed", "stop", "ignore_eos", "context",
)  # fmt: skip


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the fields of GenerationOptions."""
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


def generation_options(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Return the fields of GenerationOptions that the flags say, and `more` of them.

    Raises UsageError for a number out of its range: before a model is loaded for long.
    """
    from tinyllm.inference.generation import GenerationOptions

    options = (
        {name: getattr(args, name) for name in _OPTIONS}
        | {
            "logit_bias": dict(args.logit_bias),
            "use_cache": not args.no_cache,
        }
        | more
    )
    GenerationOptions(**options)
    return options


def add_template(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the flags for chat templates; return their group."""
    group = parser.add_argument_group("chat template")
    group.add_argument("--system", metavar="TEXT", help="the message that sets the tone")
    group.add_argument(
        "--template", choices=TEMPLATE_NAMES, metavar="NAME",
        help=f"how messages become a prompt: {', '.join(TEMPLATE_NAMES)} (default: as the model's "
        f"files say)",
    )  # fmt: skip
    return group


def choose_template(args: argparse.Namespace) -> "Template | None":
    """Return the template that --template names, or else the model's own; None where it has none.

    Raises UsageError where the model's own is not one that tinyllm knows.
    """
    from tinyllm.checkpoints import find_model
    from tinyllm.inference.template_files import find_template
    from tinyllm.inference.templates import TEMPLATES

    if args.template is not None:
        return TEMPLATES[args.template]
    return find_template(find_model(args.model))
