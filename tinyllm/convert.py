r"""Turn a checkpoint into another layout: python -m tinyllm.convert SOURCE TARGET

    model.bin   llama2.c's file     ->  a Hugging Face folder; --tokenizer tok.bin goes along
    folder      Meta's layout       ->  a Hugging Face folder
    folder      Hugging Face's      ->  llama2.c's file, where TARGET ends with .bin
                                    ->  Meta's layout, with --to meta

What SOURCE is, its files say: params.json and consolidated.safetensors are Meta's. Weights keep
their dtype, but llama2.c's are float32. Rows of the query and key projections are reordered:
llama2.c and Meta interleave the features that RoPE pairs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyllm.cli.arguments import add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Status
from tinyllm.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.convert", description=__doc__)
    parser.add_argument("source", metavar="SOURCE", help="a .bin file, a folder, or org/name")
    parser.add_argument("target", metavar="TARGET", type=Path, help="must not exist yet")
    parser.add_argument("--to", choices=["hf", "llama2c", "meta"], help="the layout of TARGET")
    parser.add_argument(
        "--tokenizer", metavar="PATH", help="a tokenizer's file or folder, if not in SOURCE"
    )
    add_common(parser)
    return run_command(parser, convert, argv)


def convert(args: argparse.Namespace) -> int:
    """Read the source, write the target, say what was written."""
    from tinyllm.checkpoints import find_model

    source, target = find_model(args.source), args.target
    if target.exists():
        raise UsageError(f"{target}: exists already; choose another name, nothing is overwritten")
    layout = args.to or ("llama2c" if target.suffix == ".bin" else "hf")
    status = Status(quiet=args.quiet)
    status.show(f"reading {source} …")
    tokenizer = _tokenizer(source, args.tokenizer)
    config, tensors = _read(source)
    tensors = _checked(config, tensors, source)
    status.show(f"writing {target} …")
    written = _write(layout, target, config, tensors, tokenizer)
    status.clear()
    if not args.quiet:
        print(f"wrote {' and '.join(map(str, written))}", file=sys.stderr)
        if tokenizer is None:
            print("note: without a tokenizer; --tokenizer PATH takes one along", file=sys.stderr)
    return 0


def _read(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a Hugging Face config and tensors, from whichever layout this is."""
    from tinyllm.checkpoints import read_config, read_llama2c, read_meta, read_weights

    if source.is_file():
        return read_llama2c(source)
    if (source / "params.json").exists() and not (source / "config.json").exists():
        return read_meta(source)
    return read_config(source), read_weights(source)


def _checked(config: dict[str, Any], tensors: dict[str, Any], source: Path) -> dict[str, Any]:
    """Return the parameters alone; refuse what would not load: no file is laundered here."""
    from tinyllm.models.config import param_shapes
    from tinyllm.models.config_json import read_config_json
    from tinyllm.models.weights import check_params

    understood = check_params(tensors, read_config_json(config, str(source)), where=str(source))
    return {name: tensors[name] for name in param_shapes(understood)}


def _tokenizer(source: Path, given: str | None) -> Any:
    """Load the tokenizer that goes along, if there is one."""
    from tinyllm.tokenizers import has_tokenizer, load_tokenizer

    if given is not None:
        return load_tokenizer(Path(given))
    return load_tokenizer(source) if source.is_dir() and has_tokenizer(source) else None


def _write(
    layout: str, target: Path, config: dict[str, Any], tensors: dict[str, Any], tokenizer: Any
) -> list[Path]:
    """Write the layout; return the files and folders that are new."""
    from tinyllm.checkpoints import write_checkpoint, write_llama2c, write_meta
    from tinyllm.tokenizers import write_llama2c_tokenizer

    if layout == "llama2c":
        write_llama2c(target, config, tensors)
        if tokenizer is None:
            return [target]
        beside = target.with_name(f"{target.stem}.tokenizer.bin")
        write_llama2c_tokenizer(beside, tokenizer)
        return [target, beside]
    (write_meta if layout == "meta" else write_checkpoint)(target, config, tensors)
    if tokenizer is not None:
        tokenizer.save(target)
    return [target]


if __name__ == "__main__":
    sys.exit(main())
