r"""Train a model: python -m tinyllm.train --data FILE --out FOLDER

A new model, by its sizes or a config, or one that is there already, or adapters
of one (--lora), which FOLDER/adapter gets in PEFT's layout. Decoders learn what
comes next, encoders (--arch bert) what a mask hides, and encoder-decoders
(--arch marian, t5) to make of each line of FILE the same line of --target, or
without one to write what was taken out of a text. Tells on stderr how it goes.
FOLDER gets the model, which python -m tinyllm.generate takes, or fill_mask, or
translate; a line for every step in metrics.jsonl, which python -m tinyllm.plot
draws; and checkpoints. Ctrl-C saves; --resume FOLDER goes on as if nothing had
been, to the last bit.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.new_model import add_new_model, new_config
from tinyllm.cli.terminal import Messages
from tinyllm.cli.training import (
    add_data,
    add_lora,
    add_new_tokenizer,
    add_steps,
    lora_of,
    settings_of,
)
from tinyllm.cli.training_run import Subject, add_run, run
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.adaptation.lora import Lora
    from tinyllm.backend import Params
    from tinyllm.model import Model
    from tinyllm.models.architecture import Config
    from tinyllm.tokenizers import Tokenizer

POOLER = "model.pooler."  # of an encoder: masked tokens are guessed without it
ADAPTER = "adapter"  # in a run's folder
SPARSE = 0.01  # of the weights: so many zeros are no accident
INIT = 2  # which of a run's streams of random numbers this is; see `tinyllm.training.windows`


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.train", description=__doc__)
    add_data(parser)
    add_new_tokenizer(parser)
    add_new_model(parser)
    add_lora(parser)
    add_steps(parser)
    add_run(parser)
    add_common(parser)
    return run_command(parser, train, argv)


def train(args: argparse.Namespace, messages: Messages) -> int:
    """Train the model that the flags describe."""
    return run(args, messages, _subject, command="train")


def _subject(args: argparse.Namespace, out: Path, messages: Messages) -> Subject:
    lora = lora_of(args)
    if lora is not None:
        return _adapters(lora, args, messages)
    if args.model is not None and (args.resume is None or _has_more(out)):
        model = _load(args, messages)
        config, params, tokenizer = model.config, model.params, model.tokenizer
        eos_ids = model.eos_ids
    else:
        config, params, tokenizer = _model(args, out, messages)
        eos_ids = frozenset()
    subject = Subject(config=config, params=params, tokenizer=tokenizer, eos_ids=eos_ids)
    pooler = {name: p for name, p in params.items() if name.startswith(POOLER)}
    return _all_but(pooler, args, subject) if pooler else subject


def _has_more(out: Path) -> bool:
    """Whether the model has what is not trained, so that no checkpoint of the run has it."""
    from tinyllm.training.run import CHECKPOINTS
    from tinyllm.training.snapshot import saved_config

    return bool(getattr(saved_config(out / CHECKPOINTS), "pooler", False))


def _all_but(frozen: "Params", args: argparse.Namespace, subject: Subject) -> Subject:
    """Leave what no score depends on as it is: a decay of weights would not."""
    from tinyllm.backend import get_backend
    from tinyllm.training.parts import PartlyFrozen, fingerprint

    xp = get_backend(args.backend)
    return replace(
        subject,
        params={name: p for name, p in subject.params.items() if name not in frozen},
        parts=PartlyFrozen({name: xp.asarray(p) for name, p in frozen.items()}),
        facts={"frozen": fingerprint(xp, frozen)},
    )


def _load(args: argparse.Namespace, messages: Messages, **options: Any) -> "Model":
    from tinyllm.model import load

    messages.status(f"loading {args.model} …")
    return load(args.model, dtype=args.dtype, report=messages.status, **options)


def _adapters(lora: "Lora", args: argparse.Namespace, messages: Messages) -> Subject:
    """Return adapters of --model, new ones: a run that goes on has its own."""
    import numpy as np

    from tinyllm.adaptation.lora import Adapted, adapted_modules, init_adapters, share_of_zeros
    from tinyllm.adaptation.peft import names_in_peft, write_adapter
    from tinyllm.training.parts import fingerprint

    model = _load(args, messages, backend=args.backend)
    config = model.config
    rng = np.random.default_rng([settings_of(args).seed, INIT])
    adapters = init_adapters(config, lora, rng, np.dtype(args.dtype))

    parts = Adapted(config=config, base=model.params, lora=lora)
    try:
        names_in_peft(config, lora)
    except UsageError as error:
        messages.note(f"note: only the merged model is written: {error}")
    else:

        def write(folder: Path, params: "Params") -> None:
            write_adapter(folder / ADAPTER, params, config, lora, base=str(args.model))

        parts = replace(parts, write=write)
    zero = share_of_zeros(model.xp, model.params, adapted_modules(config, lora))
    if zero > SPARSE:
        messages.note(f"note: {zero:.0%} of these matrices are zero; merged, hardly any will be")
    facts = {"lora": asdict(lora), "base": fingerprint(model.xp, model.params)}
    return Subject(
        config=config, params=adapters, tokenizer=model.tokenizer, eos_ids=model.eos_ids,
        parts=parts, facts=facts,
    )  # fmt: skip


def _model(
    args: argparse.Namespace, out: Path, messages: Messages
) -> "tuple[Config, Params, Tokenizer | None]":
    """Return what to train: of the folder's checkpoint, or new."""
    import numpy as np

    from tinyllm.cli.training_data import new_tokenizer
    from tinyllm.models.architecture import architecture
    from tinyllm.tokenizers import has_tokenizer, load_tokenizer
    from tinyllm.training.run import CHECKPOINTS
    from tinyllm.training.snapshot import saved_config

    if args.resume is not None:
        config = saved_config(out / CHECKPOINTS)
        tokenizer = load_tokenizer(out) if has_tokenizer(out) else None
    else:
        settings = settings_of(args)
        tokenizer = new_tokenizer(args, messages)
        config = new_config(args, tokenizer, settings.seq_len)
    rng = np.random.default_rng([settings_of(args).seed, INIT])
    return config, architecture(config).init_params(config, rng, np.dtype(args.dtype)), tokenizer


if __name__ == "__main__":
    sys.exit(main())
