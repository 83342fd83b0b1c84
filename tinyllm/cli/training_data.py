"""From the flags of training to its data: the tokenizer, a text or pairs, and what is held out."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli.new_model import special_tokens
from tinyllm.cli.terminal import Messages
from tinyllm.cli.training import settings_of
from tinyllm.errors import UsageError
from tinyllm.shown import plain

if TYPE_CHECKING:
    from tinyllm.models.architecture import Config
    from tinyllm.models.seq2seq_config import Seq2SeqConfig
    from tinyllm.tokenizers import Tokenizer
    from tinyllm.training.trainer import Data, HeldOut


@dataclass(frozen=True, kw_only=True, slots=True)
class Learning:
    """What to learn from, what to evaluate on, and how much of each there is."""

    data: "Data"
    held_out: "HeldOut | None"
    digest: str
    summary: str


def read_data(
    args: argparse.Namespace,
    config: "Config",
    tokenizer: "Tokenizer | None",
    out: Path,
    messages: Messages,
) -> Learning:
    """Read the data that a model of this kind learns from. Raises UsageError where they are not."""
    from tinyllm.models.seq2seq_config import Seq2SeqConfig

    if args.val_target is not None and (args.val_data is None or args.target is None):
        raise UsageError("--val-target is of --val-data and --target, and they are not both there")
    if isinstance(config, Seq2SeqConfig) and args.target is not None:
        return _read_pairs(args, config, tokenizer, messages)
    if args.target is not None or args.val_target is not None:
        raise UsageError(f"--target is for encoder-decoders like marian, and this is {_a(config)}")
    return _read_text(args, config, tokenizer, out, messages)


def new_tokenizer(args: argparse.Namespace, messages: Messages) -> "Tokenizer | None":
    """Return the tokenizer of a new model: the one that is named, one that is learnt, or bytes."""
    from tinyllm.checkpoints import find_model
    from tinyllm.tokenizers import load_tokenizer
    from tinyllm.tokenizers.byte_level_training import train_byte_level_bpe
    from tinyllm.training.token_file import is_token_file

    if args.tokenizer not in (None, "bytes"):
        return load_tokenizer(find_model(args.tokenizer))
    if is_token_file(args.data) and args.tokenizer is None:
        if args.vocab is None and args.config is None:
            raise UsageError(f"{plain(args.data)} has token ids: --vocab says how many there are")
        return None
    special = special_tokens(args)
    if args.vocab is None or args.tokenizer == "bytes":
        tokens = len(special["special_tokens"]) + 256
        return train_byte_level_bpe(["bytes"], tokens, **special)
    return train_byte_level_bpe(_texts(args), args.vocab, **special, report=messages.status)


def _texts(args: argparse.Namespace) -> Iterator[str]:
    """Yield all that there is to learn words from."""
    from tinyllm.training.documents import read_text, split_documents

    for file in filter(None, (args.data, args.target)):
        for text, _ in split_documents(read_text(Path(file)), args.separator):
            yield text


def _read_text(
    args: argparse.Namespace,
    config: "Config",
    tokenizer: "Tokenizer | None",
    out: Path,
    messages: Messages,
) -> Learning:
    """Read one row of tokens, and cut windows out of it."""
    from tinyllm.training.tasks import task_of
    from tinyllm.training.token_file import digest
    from tinyllm.training.windows import Windows, WindowsInOrder

    settings = settings_of(args)
    task = task_of(config, tokenizer, seed=settings.seed)
    tokens = _tokens(args.data, tokenizer, config, args, out, messages)
    if args.val_data is not None:
        held_out = _tokens(args.val_data, tokenizer, config, args, out, messages)
    else:
        cut = len(tokens) - int(len(tokens) * args.val_fraction)
        tokens, held_out = tokens[:cut], tokens[cut:]
    messages.status("hashing the data …")
    T, some = settings.seq_len, len(held_out) >= 2
    return Learning(
        data=Windows(tokens, T, seed=settings.seed, task=task),
        held_out=WindowsInOrder(held_out, T, task=task) if some else None,
        digest=digest(tokens) + (f"/{digest(held_out)}" if some else ""),
        summary=_summary(len(tokens), len(held_out) if some else 0, "tokens"),
    )


def _read_pairs(
    args: argparse.Namespace,
    config: "Seq2SeqConfig",
    tokenizer: "Tokenizer | None",
    messages: Messages,
) -> Learning:
    """Read the lines of two files, each a source and its target."""
    from tinyllm.training.pairs import Pairs, pair_numbers, read_pairs
    from tinyllm.training.token_file import digest, is_token_file

    if tokenizer is None or is_token_file(args.data):
        raise UsageError("pairs are texts: give --data and --target as UTF-8, and a --tokenizer")
    if args.val_data is not None and args.val_target is None:
        raise UsageError("--val-data has sources: --val-target has their targets")
    settings = settings_of(args)

    def read(source: str, target: str) -> Any:
        found, left_out = read_pairs(
            Path(source), Path(target), tokenizer, longest=settings.seq_len,
            report=lambda done: messages.status(f"tokenizing {source}: {done}"),
        )  # fmt: skip
        if left_out:
            messages.note(
                f"{left_out:,} of {len(found) + left_out:,} pairs of {plain(source)} are left out: "
                f"blank, or longer than {settings.seq_len} tokens"
            )
        return found

    pairs = read(args.data, args.target)
    if args.val_data is not None:
        held_out = read(args.val_data, args.val_target)
    else:
        cut = len(pairs) - int(len(pairs) * args.val_fraction)
        pairs, held_out = pairs[:cut], pairs[cut:]
    own = digest(pair_numbers(pairs))
    return Learning(
        data=Pairs(pairs, config, seed=settings.seed),
        held_out=Pairs(held_out, config) if held_out else None,
        digest=f"{own}/{digest(pair_numbers(held_out))}" if held_out else own,
        summary=_summary(len(pairs), len(held_out), "pairs"),
    )


def _tokens(
    file: str,
    tokenizer: "Tokenizer | None",
    config: "Config",
    args: argparse.Namespace,
    out: Path,
    messages: Messages,
) -> Any:
    """Return the ids of a text or a file of ids, mapped."""
    from tinyllm.training.token_file import is_token_file, open_tokens, tokenize_file

    path = Path(file)
    if not is_token_file(path):
        if tokenizer is None:
            raise UsageError(f"{plain(path)}: is a text, and the model has no tokenizer")
        path = tokenize_file(
            path, tokenizer, out, separator=args.separator,
            report=lambda done: messages.status(f"tokenizing {file}: {done}"),
        )  # fmt: skip
    return open_tokens(path, config.vocab_size)


def _summary(learnt: int, held_out: int, things: str) -> str:
    held = f"{held_out:,}" if held_out else "none"
    return f"{learnt:,} {things} to learn from, {held} to evaluate on"


def _a(config: "Config") -> str:
    """Name the kind of model."""
    from tinyllm.models.architecture import kind_name

    return f"a {kind_name(config)}"
