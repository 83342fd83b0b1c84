"""The texts that python -m tinyllm.prune calibrates on and measures."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli.pruning import reads_text
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError
from tinyllm.shown import plain

if TYPE_CHECKING:
    from tinyllm.model import Model

Facts = dict[str, Any]
CONTEXT = 1024  # tokens that perplexity is measured in, unless the model's own context is less


def texts_of(model: "Model", args: argparse.Namespace, facts: Facts) -> tuple[Any, Any]:
    """Return the samples (B, T) and the ids (N,) that perplexity is of, or None; add the facts."""
    from tinyllm.compression.calibration import calibration_tokens
    from tinyllm.compression.texts import read_tokens

    samples = measured = facts["calibration"] = facts["perplexity"] = None
    text = (args.eval or args.calib) if args.eval_tokens else None
    read = {
        file: read_tokens(
            Path(file), model.tokenizer, model.config.vocab_size, separator=args.separator
        )
        for file in dict.fromkeys([args.calib, text])
        if file is not None
    }
    if args.calib is not None and reads_text(args):
        seqlen = min(args.seqlen, model.config.max_seq_len)
        samples = calibration_tokens(read[args.calib], seqlen, args.samples, seed=args.seed)
        facts["calibration"] = {
            "text": args.calib, "tokens": len(read[args.calib]), "samples": len(samples),
            "seqlen": seqlen, "seed": args.seed,
        }  # fmt: skip
    if text is not None:
        measured = read[text][: args.eval_tokens]
        if len(measured) < 2:
            raise UsageError(f"{plain(text)}: is one token: there is nothing to predict")
        facts["perplexity"] = {
            "text": text, "protocol": "chunk",
            "context": min(model.config.max_seq_len, CONTEXT),
        }  # fmt: skip
    return samples, measured


def measure(model: "Model", tokens: Any, facts: Facts, when: str, messages: Messages) -> None:
    """Add the perplexity of a model to the facts."""
    from tinyllm.compression.texts import perplexity

    messages.status(f"measuring perplexity {when} …")
    facts[when], facts["tokens"] = perplexity(model, tokens, context=facts["context"])
