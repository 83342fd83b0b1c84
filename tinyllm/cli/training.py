"""The flags of training, and what they describe: a text, and how to train."""

import argparse
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import real, whole
from tinyllm.cli.new_model import add_new_model
from tinyllm.cli.text_input import separator
from tinyllm.cli.training_unread import check_read
from tinyllm.errors import UsageError
from tinyllm.shown import plain

if TYPE_CHECKING:
    from tinyllm.adaptation.lora import Lora
    from tinyllm.training.settings import Settings

FILES = ("data", "target", "val_data", "val_target")
DEFAULTS: dict[str, Any] = {
    "arch": "llama", "d_model": 128, "layers": 4, "heads": 4, "tie": "yes",
    "val_fraction": 0.05, "dtype": "float32",
}  # fmt: skip
NOT_KEPT = (
    "resume", "until", "out", "backend", "quiet", "verbose", "debug", "json", "force", "given",
)  # fmt: skip
MODELS = ("model", "student", "teacher")  # flags that may be paths, or ids in the local cache
STEP_FLAGS = (  # the settings of `Settings`, with the names that others give them
    (("--steps", "--max-iters"), whole, "how often to change the weights (default: 1000)"),
    (("--batch-size", "--batch_size"), whole, "windows of a batch (default: 16)"),
    (("--seq-len", "--block-size"), whole, "tokens of a window, and the most of one text of a pair"
     " (default: 256)"),
    (("--accum", "--gradient-accumulation-steps"), whole, "batches of a step (default: 1)"),
    (("--lr", "--learning-rate"), real, "the highest learning rate (default: 0.001)"),
    (("--schedule",), str, "constant, linear, cosine or noam (default: cosine)"),
    (("--warmup", "--warmup-iters"), whole, "steps until the rate is the highest (default: a tenth"
     " of all, 100 at most)"),
    (("--floor",), real, "the part of the rate that is left at the end (default: 0.1)"),
    (("--optimizer",), str, "adamw, muon, adam, momentum, sgd or adagrad (default: adamw)"),
    (("--weight-decay",), real, "of matrices, for adamw and muon (default: 0.1)"),
    (("--clip", "--grad-clip"), real, "the longest gradient; 0: any (default: 1)"),
    (("--precision",), str, "what is multiplied: float32, or 16 bits beside weights and sums in"
     " float32: bfloat16, float16 (default: float32)"),
    (("--dropout",), real, "how much to drop out (default: 0)"),
    (("--label-smoothing",), real, "the part of each target that all tokens share (default: 0)"),
    (("--z-loss",), real, "how much log² of the sum of exponentials counts (default: 0)"),
    (("--balance",), str, "how much the losses of experts count: expert=0.01,z=0.001; there are"
     " expert, device, travel, mixtral and z (default: none)"),
    (("--average",), str, "average the weights: none, ema or mean (default: none)"),
    (("--average-decay",), real, "for ema (default: 0.999)"),
    (("--average-from",), whole, "the first step that counts in the average (default: 0)"),
    (("--seed",), whole, "of all random numbers (default: 0)"),
    (("--eval-every", "--eval-interval"), whole, "steps between two evaluations; 0: only at the end"
     " (default: 100)"),
    (("--eval-windows", "--eval-iters"), whole, "windows to evaluate on, at most (default: 256)"),
    (("--save-every",), whole, "steps between two checkpoints; 0: only at the end (default: 500)"),
    (("--patience",), whole, "stop after so many evaluations without a lower loss, and keep the"
     " best model; 0: never (default: 0)"),
)  # fmt: skip


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add what says which text to learn from. Defaults come later: a run that goes on has its."""
    add = parser.add_argument_group("data").add_argument
    add("--data", metavar="FILE", help="a UTF-8 text, or token ids: .npy, or .bin of 16 bits")
    add(
        "--target", metavar="FILE",
        help="for encoder-decoders: what is to be made of each line of --data",
    )  # fmt: skip
    add("--val-data", metavar="FILE", help="the same as --data, to evaluate on")
    add("--val-target", metavar="FILE", help="the same as --target, to evaluate on")
    add(
        "--val-fraction",
        type=real,
        metavar="X",
        help="without --val-data: the part of --data at its end to evaluate on (default: 0.05)",
    )
    add(
        "--separator",
        type=separator,
        metavar="TEXT",
        help=r"what stands between documents: '<|endoftext|>', '\n\n', … (default: all is one)",
    )


def add_new_tokenizer(parser: argparse.ArgumentParser) -> None:
    """Add what says into which tokens a new model's texts fall."""
    add = parser.add_argument_group("tokenizer").add_argument
    add(
        "--tokenizer",
        metavar="PATH",
        help="a tokenizer's folder or file, or bytes (default: bytes)",
    )
    add(
        "--vocab",
        type=whole,
        metavar="N",
        help="without --tokenizer: learn byte-level BPE of N tokens from the text first",
    )


def add_lora(parser: argparse.ArgumentParser) -> None:
    """Add what says that only adapters are trained."""
    add = parser.add_argument_group(
        "LoRA", "adapters beside the matrices of --model, which stay as they are"
    ).add_argument
    add("--lora", type=whole, metavar="R", help="train adapters of this rank alone")
    add("--lora-alpha", type=real, metavar="X",
        help="an adapter counts alpha / rank times (default: twice the rank)")  # fmt: skip
    add("--lora-targets", metavar="NAME,…",
        help="beside which matrices of blocks: q_proj,v_proj, say (default: all)")  # fmt: skip


def lora_of(args: argparse.Namespace) -> "Lora | None":
    """Return the adapters that the flags describe, if they do. Raises UsageError."""
    from tinyllm.adaptation.lora import Lora

    if args.lora is None:
        if args.lora_alpha is not None or args.lora_targets is not None:
            raise UsageError("--lora-alpha and --lora-targets are of use with --lora R")
        return None
    if args.model is None:
        raise UsageError("--lora trains adapters of a model that is there: name it with --model")
    targets = () if args.lora_targets is None else tuple(args.lora_targets.split(","))
    alpha = 2.0 * args.lora if args.lora_alpha is None else args.lora_alpha
    return Lora(rank=args.lora, alpha=alpha, targets=targets)


def add_steps(parser: argparse.ArgumentParser) -> None:
    """Add the fields of `Settings`."""
    group = parser.add_argument_group("training")
    for names, kind, text in STEP_FLAGS:
        name = None if kind is str else ("N" if kind is whole else "X")
        group.add_argument(*names, type=kind, metavar=name, help=text)
    group.add_argument(
        "--overfit-one-batch", action="store_true", default=None,
        help="learn the first batch by heart: a model that cannot has a bug",
    )  # fmt: skip


def settings_of(args: argparse.Namespace) -> "Settings":
    """Return the settings that the flags give. Raises UsageError for one out of its range."""
    from tinyllm.training.settings import Settings

    given = {field.name: getattr(args, field.name) for field in fields(Settings)}
    return Settings(**{name: value for name, value in given.items() if value is not None})


def remember(args: argparse.Namespace, folder: Path) -> None:
    """Write the flags of a run into its folder."""
    from tinyllm.checkpoints.atomic import atomic_write
    from tinyllm.training.run import RUN

    kept = {k: v for k, v in vars(args).items() if k not in NOT_KEPT and v is not None}
    files = {k: kept[k] for k in FILES if k in kept}
    models = {k: kept[k] for k in MODELS if k in kept and os.path.exists(kept[k])}
    kept |= {k: os.path.abspath(path) for k, path in (files | models).items()}
    with atomic_write(folder / RUN) as file:
        file.write((json.dumps(kept, indent=2, sort_keys=True) + "\n").encode())


def recall(args: argparse.Namespace, folder: Path) -> None:
    """Fill in the flags that a run was started with, where none is given now.

    Raises UsageError for a flag that differs and says what the model is, whose weights are there
    already, or how a text is cut.
    """
    from tinyllm.json_file import read_json
    from tinyllm.training.run import RUN

    if not (folder / RUN).exists():
        raise UsageError(f"{plain(folder)}: has no {RUN}, so no run to go on with")
    kept = read_json(folder / RUN, UsageError)
    for key in [
        *model_flags(),
        "student",
        "separator",
        "val_fraction",
        "val_data",
        "target",
        "val_target",
    ]:
        given, was = getattr(args, key, None), kept.get(key)
        if key in MODELS and given is not None and os.path.exists(given):
            given = os.path.abspath(given)
        moved = key in FILES and was is not None  # a file may lie elsewhere; its hash tells it
        if given not in (None, was) and not moved:
            raise UsageError(
                f"{plain(folder)}: was started {_as_flag(key, was)}, and now it is "
                f"{_as_flag(key, given)}: leave it out, or start another run with another --out"
            )
    for key, value in kept.items():
        if key in vars(args) and getattr(args, key) is None:
            setattr(args, key, value)


def model_flags() -> list[str]:
    """Return the names under which argparse keeps the flags that say what a model is."""
    parser = argparse.ArgumentParser(add_help=False)
    add_new_model(parser)
    return [*vars(parser.parse_args([])), "tokenizer", "vocab"]


def _as_flag(key: str, value: Any) -> str:
    flag = f"--{key.replace('_', '-')}"
    return f"without {flag}" if value is None else f"with {flag} {value}"


def fill_in(args: argparse.Namespace) -> None:
    """Give the flags of data and model that are still open their defaults.

    Raises UsageError for flags that nothing reads beside others, or are out of their range.
    """
    for key, value in DEFAULTS.items():
        if getattr(args, key, value) is None:
            setattr(args, key, value)
    check_read(args, settings_of(args), model_flags())
