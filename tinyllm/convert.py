r"""Turn a checkpoint into another layout: python -m tinyllm.convert SOURCE TARGET

    SOURCE                         TARGET
    llama2.c's file, model.bin ->  a Hugging Face folder; --tokenizer goes along
    Meta's folder              ->  a Hugging Face folder
    Hugging Face's folder      ->  llama2.c's file, where TARGET ends with .bin
                               ->  Meta's folder, with --to meta

What SOURCE is, its files say: params.json and consolidated.safetensors are
Meta's. Weights keep their dtype, but llama2.c's are float32. Rows of the query
and key projections are reordered: llama2.c and Meta interleave the features
that RoPE pairs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyllm.cli.arguments import TIE, add_common, add_tie
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.new_folder import new_paths
from tinyllm.cli.terminal import Messages


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.convert", description=__doc__)
    parser.add_argument("source", metavar="SOURCE", help="a .bin file, a folder, or org/name")
    parser.add_argument("target", metavar="TARGET", type=Path, help="must not exist yet")
    parser.add_argument("--to", choices=["hf", "llama2c", "meta"], help="the layout of TARGET")
    parser.add_argument(
        "--tokenizer", metavar="PATH", help="a tokenizer's file or folder, if not in SOURCE"
    )
    add_tie(parser)
    add_common(parser)
    return run_command(parser, convert, argv)


def convert(args: argparse.Namespace, messages: Messages) -> int:
    """Read the source, write the target, say what was written."""
    from tinyllm.checkpoints import find_model

    source, target = find_model(args.source), args.target
    layout = args.to or ("llama2c" if target.suffix == ".bin" else "hf")
    messages.status(f"reading {source} …")
    tokenizer = _tokenizer(source, args.tokenizer)
    beside = target.parent / f"{target.stem}.tokenizer.bin"
    new = [target, beside] if layout == "llama2c" and tokenizer is not None else [target]
    with new_paths(*new) as temporary:
        config, tensors, generation = _read(source)
        config, tensors = _checked(config, tensors, tokenizer, source, TIE[args.tie])
        messages.status(f"writing {target} …")
        _write(layout, temporary, config, tensors, generation, tokenizer)
    messages.note(f"wrote {' and '.join(map(str, new))}")
    if tokenizer is None:
        messages.note("note: without a tokenizer; --tokenizer PATH takes one along")
    return 0


def _read(source: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a Hugging Face config, tensors and generation config, from whichever layout it is."""
    from tinyllm.checkpoints import (
        layout_of,
        read_config,
        read_generation_config,
        read_llama2c,
        read_meta,
        read_weights,
        require_folder,
    )

    layout = layout_of(source)
    if layout == "llama2c":
        return *read_llama2c(source), {}
    if layout == "meta":
        return *read_meta(source), {}
    require_folder(source)
    return read_config(source), read_weights(source), read_generation_config(source)


def _checked(
    config: dict[str, Any], tensors: dict[str, Any], tokenizer: Any, source: Path, tie: bool | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters alone; refuse what would not load: no file is laundered here."""
    from tinyllm.key_reader import KeyReader
    from tinyllm.models.architecture import understand
    from tinyllm.models.weights import check_params, parameters_in, stored_tensors
    from tinyllm.tokenizers import check_rows

    where = str(source)
    read = understand(KeyReader(config, where))
    understood = check_params(tensors, read, where=where, tie=tie)
    if tokenizer is not None:
        check_rows(tokenizer, understood.vocab_size)
    config = config | {"tie_word_embeddings": understood.tie_embeddings}
    return config, stored_tensors(parameters_in(tensors, understood), understood)


def _tokenizer(source: Path, given: str | None) -> Any:
    """Load the tokenizer that goes along, if there is one."""
    from tinyllm.tokenizers import has_tokenizer, load_tokenizer

    if given is not None:
        return load_tokenizer(Path(given))
    return load_tokenizer(source) if source.is_dir() and has_tokenizer(source) else None


def _write(
    layout: str,
    new: list[Path],
    config: dict[str, Any],
    tensors: dict[str, Any],
    generation: dict[str, Any],
    tokenizer: Any,
) -> None:
    """Write a folder with the tokenizer in it, or llama2.c's file and the tokenizer's file."""
    from tinyllm.checkpoints import write_checkpoint, write_llama2c, write_meta
    from tinyllm.tokenizers import write_llama2c_tokenizer

    target, *beside = new
    if layout == "llama2c":
        write_llama2c(target, config, tensors)
        for path in beside:
            write_llama2c_tokenizer(path, tokenizer)
        return
    if layout == "meta":
        write_meta(target, config, tensors)
    else:
        write_checkpoint(target, config, tensors, generation or None)
    if tokenizer is not None:
        tokenizer.save(target)


if __name__ == "__main__":
    sys.exit(main())
