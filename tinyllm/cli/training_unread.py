"""Flags of training that nothing reads beside others, or that come into effect too late."""

import argparse
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tinyllm.cli.arguments import refuse_unread

if TYPE_CHECKING:
    from tinyllm.training.settings import Settings


def check_read(args: argparse.Namespace, settings: "Settings", model: Sequence[str]) -> None:
    """Raise UsageError for a flag that nothing reads; warn of one that is beyond the last step.

    `model` has the names of the flags that say what a new model is.
    """
    refuse_unread(args, *_unread(args, settings, model))
    for flag, first, what in (
        ("warmup", settings.warmup or 0, "the rate will not get as high as --lr"),
        ("average_from", settings.average_from, "nothing will be averaged"),
    ):
        if flag in args.given and first > settings.steps:
            name = flag.replace("_", "-")
            warnings.warn(f"--{name} is {first}, beyond --steps: {what}", stacklevel=2)


def _unread(
    args: argparse.Namespace, settings: "Settings", model: Sequence[str]
) -> Iterator[tuple[bool, str, Sequence[str]]]:
    """Yield the rules of `refuse_unread`."""
    from tinyllm.models.recurrent_config import CELLS
    from tinyllm.training.optimizers import OPTIMIZERS
    from tinyllm.training.token_file import is_token_file

    own, texts = set(model) - {"model"}, [*filter(None, (args.data, args.val_data))]
    if hasattr(args, "arch"):
        yield args.model is not None, "beside --model, which says what the model is", sorted(own)
        own -= {"config", "tokenizer", "vocab"}
        yield args.config is not None, "beside --config, which says what the model is", sorted(own)
        yield args.tokenizer is not None, "beside --tokenizer, which has its own", ["vocab"]
        yield args.arch in CELLS, f"by a {args.arch}", ["heads", "context"]
    yield args.val_data is not None, "beside --val-data", ["val_fraction"]
    ids = bool(texts) and all(map(is_token_file, texts))
    yield ids, "where --data has token ids", ["separator"]
    pairs = args.target is not None and getattr(args, "vocab", None) is None
    yield pairs, "beside --target, where each line is a text", ["separator"]
    yield settings.average != "ema", "without --average ema", ["average_decay"]
    yield settings.average == "none", "without --average", ["average_from"]
    yield not OPTIMIZERS[settings.optimizer].decays, f"by {settings.optimizer}", ["weight_decay"]
    yield settings.schedule in ("constant", "noam"), f"by {settings.schedule}", ["floor"]
    yield not settings.eval_every, "without --eval-every, for it counts evaluations", ["patience"]
