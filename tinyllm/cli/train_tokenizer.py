"""Make a tokenizer out of text: python -m tinyllm tokenize train …

    python -m tinyllm tokenize train --data FILE --vocab-size 4096 --out FOLDER

Learns byte-level BPE and writes tokenizer.json and tokenizer_config.json, which
tinyllm, tokenizers and transformers read. Of pairs that are equally frequent
the one whose bytes are lexicographically greatest is joined first.
"""

import argparse
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.cli.arguments import add_common, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError
from tinyllm.shown import plain

if TYPE_CHECKING:
    from tinyllm.tokenizers import Tokenizer

_END = "<|endoftext|>"
_NONE = "none"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm tokenize train", description=__doc__)
    parser.add_argument(
        "--data", nargs="+", required=True, type=Path, metavar="FILE", help="text in UTF-8"
    )
    parser.add_argument(
        "--vocab-size", type=whole, required=True, metavar="N",
        help="how many tokens, with the special tokens and the 256 bytes",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder; must not exist yet"
    )
    parser.add_argument(
        "--special", nargs="+", default=[_END], metavar="TOKEN",
        help=f"special tokens; they part the text, and get the first ids (default: {_END})",
    )  # fmt: skip
    for role, what in (("bos", "begins"), ("eos", "ends")):
        parser.add_argument(
            f"--{role}", metavar="TOKEN",
            help=f"the special token that {what} a text, or {_NONE} (default: the first of them)",
        )  # fmt: skip
    parser.add_argument(
        "--pre-tokenizer", default="gpt2", metavar="NAME",
        help="how words are cut: gpt2, llama3, qwen2, bloom, smollm or falcon (default: gpt2)",
    )  # fmt: skip
    add_common(parser)
    return run_command(parser, train, argv)


def train(args: argparse.Namespace, messages: Messages) -> int:
    """Read the text, learn the tokens, write the folder."""
    from tinyllm.tokenizers import train_byte_level_bpe
    from tinyllm.tokenizers.text_blocks import text_blocks

    if os.path.lexists(args.out):
        raise UsageError(
            f"{plain(args.out)}: exists already; choose another name, nothing is overwritten"
        )
    if not args.out.parent.is_dir():
        raise UsageError(f"{plain(args.out)}: cannot be made in a folder that does not exist")

    def texts() -> Iterator[str]:
        for path in args.data:
            yield from text_blocks(path)

    tokenizer = train_byte_level_bpe(
        texts(),
        args.vocab_size,
        special_tokens=args.special,
        bos=_role(args.bos, args.special),
        eos=_role(args.eos, args.special),
        pre_tokenizer=args.pre_tokenizer,
        report=messages.status,
    )
    save_whole(tokenizer, args.out)
    messages.note(f"wrote {plain(args.out)}: {tokenizer.vocab_size} tokens")
    return 0


def save_whole(tokenizer: "Tokenizer", folder: Path) -> None:
    """Write a new folder that is there with all its files, or not at all."""
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        tokenizer.save(temporary)
        temporary.rename(folder)
    except BaseException:  # Ctrl-C too
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _role(name: str | None, special: Sequence[str]) -> str | None:
    """Return the token that a flag names."""
    if name is None:
        return special[0]
    return None if name == _NONE else name
