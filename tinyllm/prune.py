r"""Make a model smaller: python -m tinyllm.prune --model M --calib FILE --out DIR

magnitude, wanda and sparsegpt make weights of the blocks' matrices zero. The
file stays as large; how well the model does without them is what this tells.
linearity and influence remove whole blocks, the --remove N that matter least.
llm-pruner removes heads and channels; minitron heads, neurons, channels and
blocks until so many are left. Where blocks are no longer alike, no other
program can read the model: its family is then tinyllm.

DIR is a model's folder like M. Weights that are not made zero keep their bytes
(sparsegpt changes them all), and so do the embeddings, the head, the norms;
--width and --structure channel take slices of these, and --merge-heads changes
queries.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import add_common, add_model, load_model
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.minitron import MINITRON, add_minitron
from tinyllm.cli.new_folder import new_folder
from tinyllm.cli.pruning import (
    DEPTH,
    GROUPS,
    add_pruning,
    add_target,
    add_texts,
    check,
    choice_of,
    pattern_of,
)
from tinyllm.cli.pruning_texts import measure, texts_of
from tinyllm.cli.terminal import Messages, peak_memory
from tinyllm.errors import UsageError

if TYPE_CHECKING:
    from tinyllm.model import Model

Facts = dict[str, Any]
Tensors = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.prune", description=__doc__)
    add_model(parser)
    add_pruning(parser)
    add_minitron(parser)
    add_texts(parser)
    add_target(parser)
    add_common(parser)
    return run_command(parser, prune, argv)


def prune(args: argparse.Namespace, messages: Messages) -> int:
    """Load the model, prune it, write it, measure both, say what came of it."""
    from tinyllm.compression.report import summary, write_report

    start = time.monotonic()
    check(args)
    with new_folder(args.out) as folder:
        model = load_model(args, messages, None)
        facts: Facts = {"method": args.method, "model": str(args.model)}
        samples, measured = texts_of(model, args, facts)
        if measured is not None:
            measure(model, measured, facts["perplexity"], "before", messages)
        change = dict.fromkeys(DEPTH, _shallower) | {GROUPS: _narrower, MINITRON: _sliced}
        config, tensors, more = change.get(args.method, _sparser)(model, samples, args, messages)
        facts |= more
        messages.status(f"writing {args.out} …")
        _write(folder, model, config, tensors)
        del model, tensors
        if measured is not None:  # by what was written: that is what is used later
            args.model = folder
            written = load_model(args, messages, None)
            measure(written, measured, facts["perplexity"], "after", messages)
        facts["seconds"] = round(time.monotonic() - start, 3)
        if args.report and not write_report(folder, facts):
            messages.note("note: without a picture, which needs matplotlib")
    for line in [json.dumps(facts)] if args.json else summary(facts):
        sys.stdout.write(line + "\n")
    messages.note(f"wrote {args.out} in {facts['seconds']:.1f} s, peak {peak_memory()}")
    return 0


def _sparser(
    model: "Model", samples: Any, args: argparse.Namespace, messages: Messages
) -> tuple[Facts, Tensors, Facts]:
    """Return config.json, tensors with zeros in them, and the facts of each matrix."""
    from tinyllm.checkpoints import find_model, read_config, read_weights, release
    from tinyllm.compression.files import as_stored, share, sparsity_facts, zeros_of
    from tinyllm.compression.pruning import prune_params
    from tinyllm.compression.streaming import require_decoder
    from tinyllm.models.weights import parameters_in, stored_tensors

    decoder = require_decoder(model.config)
    source, pattern = find_model(args.model), pattern_of(args)
    tensors = parameters_in(read_weights(source), decoder)
    already = share(zeros_of(tensors))
    if already > 0.01:
        messages.note(f"note: {already:.0%} of the blocks' weights are zero already")

    def forget(block: Tensors) -> None:
        """Give the mapped memory of dense weights back: they are not read again."""
        for x in block.values():
            if hasattr(x.base, "ctypes"):  # the model has a read-only view of the mapped tensor
                release(x.base)

    new = prune_params(
        model.xp, model.params, decoder, args.method, pattern, samples,
        skip=args.skip, report=messages.status, done=forget,
    )  # fmt: skip
    to_numpy = model.xp.to_numpy
    after = {name: to_numpy(x) for name, x in new.items()}
    before = {name: to_numpy(x) for name, x in model.params.items()}
    tensors = as_stored(tensors, before, after)
    facts = {
        "pattern": args.pattern or "unstructured",
        "compare": getattr(pattern, "within", None),
        "wanted": pattern.sparsity,
        "skipped": args.skip,
        "routers": decoder.experts is not None,
        "already": already,
    }
    config = read_config(source) | {"tie_word_embeddings": decoder.tie_embeddings}
    return config, stored_tensors(tensors, decoder), facts | sparsity_facts(tensors)


def _shallower(
    model: "Model", samples: Any, args: argparse.Namespace, messages: Messages
) -> tuple[Facts, Tensors, Facts]:
    """Return config.json, tensors without some blocks, and the facts of each block."""
    from tinyllm.checkpoints import find_model, read_weights
    from tinyllm.compression.depth import (
        block_facts,
        fit_maps_in_order,
        fit_maps_to_dense,
        least_needed,
    )
    from tinyllm.compression.files import without_blocks
    from tinyllm.compression.streaming import require_decoder
    from tinyllm.models.weights import parameters_in
    from tinyllm.params import nest

    config = require_decoder(model.config)
    if not 0 < args.remove < config.n_layers:
        raise UsageError(
            f"--remove is {args.remove}, and the model has {config.n_layers} blocks: expected 1 "
            f"to {config.n_layers - 1}"
        )
    messages.status("measuring what each block does …")
    blocks = block_facts(model.xp, nest(model.params), config, samples)
    tensors = parameters_in(read_weights(find_model(args.model)), config)
    removed = least_needed(blocks, args.method, args.remove)
    fits = {"at-once": fit_maps_to_dense, "in-order": fit_maps_in_order}
    maps = {}
    if args.replace is not None:
        maps = fits[args.replace](model.xp, nest(model.params), config, samples, removed)
    return without_blocks(tensors, config, blocks, removed, maps)


def _narrower(
    model: "Model", samples: Any, args: argparse.Namespace, messages: Messages
) -> tuple[Facts, Tensors, Facts]:
    """Return config.json, tensors without some heads and channels, and the facts of each layer."""
    from tinyllm.checkpoints import find_model, read_weights
    from tinyllm.compression.files import without
    from tinyllm.compression.llm_pruner import prune_groups
    from tinyllm.compression.streaming import require_decoder
    from tinyllm.models.weights import parameters_in

    config, choice = require_decoder(model.config), choice_of(args)
    gone, _, _ = prune_groups(
        model.xp, model.params, config, choice, samples, report=messages.status
    )
    tensors = parameters_in(read_weights(find_model(args.model)), config)
    config_json, stored, facts = without(tensors, config, gone)
    said = {
        "structure": choice.structure, "importance": choice.importance,
        "aggregate": choice.aggregate, "compare": choice.within, "wanted": choice.sparsity,
    }  # fmt: skip
    return config_json, stored, said | facts


def _sliced(
    model: "Model", samples: Any, args: argparse.Namespace, messages: Messages
) -> tuple[Facts, Tensors, Facts]:
    """Return config.json, tensors of so many units and blocks, and the facts of each."""
    from tinyllm.checkpoints import find_model, read_weights
    from tinyllm.compression.files import sliced
    from tinyllm.compression.minitron import BEST, Target, minitron, read_aggregates
    from tinyllm.compression.streaming import require_decoder
    from tinyllm.models.weights import parameters_in

    config = require_decoder(model.config)
    importance, depth_by = args.importance or BEST, args.depth_by or "perplexity"
    batch, seq = read_aggregates(importance)
    target = Target(
        ffn=args.ffn, heads=args.heads, width=args.width, layers=args.layers,
        drop=tuple(args.drop_layers or ()),
    )  # fmt: skip
    cut = minitron(
        model.xp, model.params, config, target, samples, batch=batch, seq=seq,
        depth_by=depth_by, merge=args.merge_heads, report=messages.status,
    )  # fmt: skip
    tensors = parameters_in(read_weights(find_model(args.model)), config)
    to_numpy = model.xp.to_numpy
    merged = {n: to_numpy(x).astype(tensors[n].dtype) for n, x in cut.merged.items()}
    config_json, stored, facts = sliced(tensors | merged, config, cut.gone, cut.removed, cut.costs)
    said: Facts = {"importance": importance} if target.narrower else {}
    said |= {} if args.layers is None else {"depth_by": depth_by}
    said |= {} if args.heads is None else {"merged": args.merge_heads}
    return config_json, stored, said | facts


def _write(folder: Path, model: "Model", config: Facts, tensors: Tensors) -> None:
    from tinyllm.checkpoints import write_checkpoint

    generation = {"eos_token_id": sorted(model.eos_ids)} if model.eos_ids else None
    write_checkpoint(folder, config, tensors, generation)
    if model.tokenizer is not None:
        model.tokenizer.save(folder)


if __name__ == "__main__":
    sys.exit(main())
