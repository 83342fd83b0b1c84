"""The parts of evaluate for models that do not continue texts: encoders and encoder-decoders."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinyllm.cli.arguments import add_common, add_model, load_model, real, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages
from tinyllm.cli.text_input import read_text_file
from tinyllm.errors import UsageError

_MASKED = """Say how surprised an encoder is by a text, if each token in turn is hidden.

Each line is a text of its own. The pseudo-perplexity of Salazar et al. 2020,
which is no perplexity: a model sees what follows, too.
"""
_TRANSLATION = """Say how good an encoder-decoder's translations are.

FILE and --target have a text on each line. Three numbers: the perplexity of the
targets, given their sources; the BLEU of what the model makes of the sources,
of words between spaces; and how many it writes to the last character.
"""


def masked_main(argv: Sequence[str]) -> int:
    """Run the part "masked"; return its exit code."""
    parser = Parser(prog="python -m tinyllm.evaluate masked", description=_MASKED)
    add_model(parser, "fill-mask")
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="text in UTF-8")
    parser.add_argument(
        "--context", dest="window", type=whole, metavar="N",
        help="the tokens that are read at once (default: the model's)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common(parser)
    return run_command(parser, print_masked, argv)


def translation_main(argv: Sequence[str]) -> int:
    """Run the part "translation"; return its exit code."""
    parser = Parser(prog="python -m tinyllm.evaluate translation", description=_TRANSLATION)
    add_model(parser, "translate")
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="the sources")
    parser.add_argument("--target", type=Path, required=True, metavar="FILE", help="by people")
    parser.add_argument(
        "--beams", type=whole, default=4, metavar="N", help="texts to follow at once (default: 4)"
    )
    parser.add_argument(
        "--alpha", type=real, default=0.6, metavar="A",
        help="0 favours short texts, more longer ones (default: 0.6)",
    )  # fmt: skip
    parser.add_argument(
        "--max-tokens", type=whole, default=256, metavar="N", help="of each (default: 256)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common(parser)
    return run_command(parser, print_translation, argv)


def print_masked(args: argparse.Namespace, messages: Messages) -> int:
    """Read the text, score it, print the number and what it depends on."""
    from tinyllm.evaluation import measure_pseudo_perplexity
    from tinyllm.training.documents import lines

    require_output()
    texts = [line for line in lines(read_text_file(args.text)) if line.strip()]
    found = measure_pseudo_perplexity(
        load_model(args, messages, "fill-mask"), texts, context=args.window, report=messages.status
    )
    messages.clear()
    sys.stdout.write(
        json_line(asdict(found))
        if args.json
        else f"pseudo-perplexity {found.ppl:.4f}: {found.nll:.4f} nats a token, hidden in turn\n"
        f"context {found.context}; {found.tokens_scored:,} tokens scored of {found.texts:,} texts;"
        f" tokenizer of {found.tokenizer}\n"
    )
    return 0


def print_translation(args: argparse.Namespace, messages: Messages) -> int:
    """Read both files, translate, compare, print the numbers."""
    from tinyllm.evaluation import measure_translations
    from tinyllm.training.documents import lines

    require_output()
    sources, targets = (lines(read_text_file(x)) for x in (args.text, args.target))
    found = measure_translations(
        load_model(args, messages, "translate"), sources, targets, beams=args.beams,
        alpha=args.alpha, max_tokens=args.max_tokens, report=messages.status,
    )  # fmt: skip
    messages.clear()
    sys.stdout.write(
        json_line(asdict(found))
        if args.json
        else f"perplexity {found.ppl:.4f} of the targets: {found.nll:.4f} nats a token\n"
        f"BLEU {100 * found.bleu:.2f}, {found.exact:.1%} without a mistake; {found.pairs:,} pairs,"
        f" beams {found.beams}, alpha {found.alpha:g}\n"
    )
    return 0


def require_output() -> None:
    """Raise UsageError where nothing can be printed."""
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the numbers")


def json_line(fields: dict[str, Any]) -> str:
    """Return one JSON object; it knows no infinity."""
    infinite = {k: None for k, v in fields.items() if isinstance(v, float) and math.isinf(v)}
    return json.dumps(fields | infinite, ensure_ascii=False) + "\n"
