r"""Text to token ids, or back: python -m tinyllm tokenize --model FOLDER "Once …"

Prints each token with its id and its text. --ids prints the ids alone, in one
line that --decode reads; --count prints how many there are; --show prints the
text with its tokens side by side.

python -m tinyllm tokenize train --help explains how to make a tokenizer; the
word itself becomes ids with --prompt train.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from tinyllm.cli import color, train_tokenizer
from tinyllm.cli.arguments import add_color, add_common, refuse_unread
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages, is_terminal, printable
from tinyllm.cli.text_input import add_prompt, read_prompt
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.tokenizers import Tokenizer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["train"]:
        return train_tokenizer.main(words[1:])
    parser = Parser(prog="python -m tinyllm tokenize", description=__doc__)
    add_prompt(parser, "the text to make ids of, or ids for --decode")
    parser.add_argument(
        "--model", "--tokenizer", "-m", metavar="PATH|ORG/NAME",
        help="a model's or a tokenizer's folder, a tokenizer's file, or an id in the local cache"
        " (default: the model that ships with tinyllm)",
    )  # fmt: skip
    form = parser.add_argument_group("output").add_mutually_exclusive_group()
    form.add_argument("--ids", action="store_true", help="print the ids in one line")
    form.add_argument("--count", action="store_true", help="print how many tokens there are")
    form.add_argument("--show", action="store_true", help="print the text, token beside token")
    form.add_argument("--decode", action="store_true", help="read ids, print their text")
    parser.add_argument("--bos", action="store_true", help="begin with BOS")
    parser.add_argument("--eos", action="store_true", help="end with EOS")
    parser.add_argument(
        "--parse-special", action="store_true",
        help="read special tokens in the text, like </s>, as what they mean (default: as text)",
    )  # fmt: skip
    add_color(parser)
    add_common(parser)
    return run_command(parser, tokenize, words)


def tokenize(args: argparse.Namespace, messages: Messages) -> int:
    """Load the tokenizer, print what is asked for."""
    from tinyllm.checkpoints import find_model
    from tinyllm.tokenizers import load_tokenizer

    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the tokens")
    refuse_unread(args, (args.decode, "with --decode", ["bos", "eos", "parse_special"]))
    text = read_prompt(args)
    tokenizer = load_tokenizer(find_model(args.model))
    if args.decode:
        decoded, shows = tokenizer.decode(_ids(text)), is_terminal(sys.stdout)
        sys.stdout.write(f"{printable(decoded)}\n" if shows else decoded)
        return 0
    ids = tokenizer.encode(text, bos=args.bos, eos=args.eos, allow_special=args.parse_special)
    if args.count:
        lines = [str(len(ids))]
    elif args.ids:
        lines = [" ".join(map(str, ids))]
    elif args.show:
        lines = [side_by_side(tokenizer, ids, colored=color.wanted(args.color, sys.stdout))]
    else:
        width = len(str(max(ids, default=0)))
        lines = [f"{token:>{width}}  {piece(tokenizer, token)}" for token in ids]
    sys.stdout.writelines(line + "\n" for line in lines)
    return 0


def piece(tokenizer: "Tokenizer", token: int) -> str:
    r"""Return the text of one token on one line: bytes that are no characters as \xNN."""
    marks = [mark for mark, id_ in tokenizer.special_tokens.items() if id_ == token]
    content = marks[0].encode() if marks else tokenizer.token_bytes(token)
    text = content.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return printable(text.replace("\n", "\\n").replace("\t", "\\t"))


def side_by_side(tokenizer: "Tokenizer", ids: Sequence[int], *, colored: bool) -> str:
    """Return the pieces in one line, on two grounds in turn, or with | in between."""
    pieces = [piece(tokenizer, token) for token in ids]
    if not colored:
        return "|".join(pieces)
    grounds = cycle([color.BLUE_GROUND, color.GREY_GROUND])
    return "".join(color.paint(text, ground) for text, ground in zip(pieces, grounds, strict=False))


def _ids(text: str) -> list[int]:
    """Read ids between blanks, commas or brackets, as --ids and Python print them."""
    words = re.findall(r"[^\s,\[\]]+", text)
    try:
        return [int(word) for word in words]
    except ValueError:
        bad = next(word for word in words if not re.fullmatch(r"[+-]?[0-9]+", word))
        raise UsageError(f"{bad[:40]!r} is no token id; --decode takes ids like 1 15043") from None
