"""Make a tokenizer out of text: python -m tinyllm tokenize train …

    python -m tinyllm tokenize train --data FILE --vocab-size 4096 --out FOLDER

Learns byte-level BPE and writes tokenizer.json and tokenizer_config.json, which
tinyllm, tokenizers and transformers read. Of pairs that are equally frequent
the one whose bytes are lexicographically greatest is joined first.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinyllm.cli.arguments import add_common, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.new_folder import new_folder
from tinyllm.cli.terminal import Messages
from tinyllm.shown import plain

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

    def texts() -> Iterator[str]:
        for path in args.data:
            yield from text_blocks(path)

    with new_folder(args.out) as folder:
        tokenizer = train_byte_level_bpe(
            texts(),
            args.vocab_size,
            special_tokens=args.special,
            bos=_role(args.bos, args.special),
            eos=_role(args.eos, args.special),
            pre_tokenizer=args.pre_tokenizer,
            report=messages.status,
        )
        tokenizer.save(folder)
    messages.note(f"wrote {plain(args.out)}: {tokenizer.vocab_size} tokens")
    return 0


def _role(name: str | None, special: Sequence[str]) -> str | None:
    """Return the token that a flag names."""
    if name is None:
        return special[0]
    return None if name == _NONE else name
