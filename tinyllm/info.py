"""Say what a model is, and what it needs: python -m tinyllm.info PATH

PATH is a model's folder, its id in the local Hugging Face cache, or a file: a
.safetensors, a config.json, a llama2.c .bin. Weights are not read, only where
they lie. Leaves with 1 where something would keep the model from being loaded.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from tinyllm.cli.arguments import add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.terminal import Messages, is_terminal, printable
from tinyllm.errors import UsageError
from tinyllm.shown import plain, quantity, shown

Row = tuple[str, str]
WIDTH, LABEL = 79, 11  # columns


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.info", description=__doc__)
    parser.add_argument(
        "path", nargs="?", metavar="PATH",
        help="a folder, a file, or org/name (default: the model that ships with tinyllm)",
    )  # fmt: skip
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common(parser)
    return run_command(parser, info, argv)


def info(args: argparse.Namespace, messages: Messages) -> int:
    """Describe the model, print the description; return 1 where there is a problem, else 0."""
    from tinyllm.description import describe

    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the description")
    described = describe(args.path)
    listed = described["tensors"].pop("list") if "tensors" in described else []
    if args.json:
        if args.tensors:
            described["tensors"] = described.get("tensors", {}) | {"list": listed}
        text = json.dumps(described, indent=2)
    else:
        lines = [line for row in rows(described) for line in _wrapped(row)]
        text = "\n".join([*lines, *(_table(listed) if args.tensors else [])])
    sys.stdout.write((printable(text) if is_terminal(sys.stdout) else text) + "\n")
    return 1 if described["problems"] else 0


def rows(described: dict[str, Any]) -> Iterator[Row]:
    """Say the same in lines for people: a label and a text each."""
    yield "path", described["path"]
    yield "format", described["format"]
    if "tensors" in described:
        yield "tensors", _tensors(described["tensors"])
    if "config" in described:
        yield from _model(described, described["config"])
    if "tokenizer" in described:
        yield "tokenizer", _tokenizer(described["tokenizer"])
    if "memory" in described:
        yield from _cost(described)
    if described.get("unread_keys"):
        yield "unread", ", ".join(map(plain, described["unread_keys"]))
    if "to_load" in described:
        yield "to load", described["to_load"]
    for problem in described["problems"]:
        yield "problem", problem


def _tensors(tensors: dict[str, Any]) -> str:
    kinds = ", ".join(f"{count:,} {dtype}" for dtype, count in tensors["dtypes"].items())
    size = f"{tensors['parameters']:,} numbers in {quantity(tensors['bytes'], 'B')}"
    return f"{tensors['count']:,} ({kinds}), {size}"


def _model(described: dict[str, Any], config: dict[str, Any]) -> Iterator[Row]:
    tied = ", the head is the embedding" if config["tie_embeddings"] else ""
    yield "family", f"{config['family']} ({described['architecture']})"
    total, active = described["parameters"], described["active_parameters"]
    passed = "" if active == total else f", of which a token passes {active:,}"
    yield "parameters", f"{total:,}{passed}{tied}"
    if "encoder" in config:
        for side in ("encoder", "decoder"):
            yield side, "; ".join(f"{label} {text}" for label, text in _stack(config[side]))
    else:
        yield from _stack(config) if "n_heads" in config else _recurrent(config)
    names = {id_: name for name, id_ in described.get("tokenizer", {}).get("special", {}).items()}
    begin = [] if config["bos_id"] is None else [config["bos_id"]]
    yield "BOS", _tokens(begin, names)
    yield "EOS", _tokens(described.get("eos_ids", config["eos_ids"]), names)


def _stack(config: dict[str, Any]) -> Iterator[Row]:
    yield (
        "layers",
        f"{config['n_layers']} of d_model {config['d_model']:,}, d_ff {config['d_ff']:,}",
    )
    yield (
        "heads",
        f"{config['n_heads']} for queries, {config['n_kv_heads']} for keys and values, "
        f"head_dim {config['head_dim']}",
    )
    yield "block", f"{config['layout']}, of {config['norm']} and {config['mlp']}"
    if config["blocks"] is not None:
        yield from _blocks(config["blocks"])
    if config["experts"] is not None:
        yield "experts", _experts(**config["experts"])
    yield "extras", _extras(config)
    yield "positions", _positions(**config["positions"])
    yield "window", _window(config["windows"])
    yield "context", f"{config['max_seq_len']:,} tokens of a vocabulary of {config['vocab_size']:,}"


def _blocks(blocks: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """Say what each block is, a line for those that are alike."""
    for kind in {str(block): block for block in blocks}.values():
        sizes = [f", {kind['n_heads']} and {kind['n_kv_heads']} heads"] if kind["n_heads"] else []
        sizes += [f", d_ff {kind['d_ff']:,}"] if kind["d_ff"] else []
        which = [i for i, block in enumerate(blocks) if block == kind]
        yield f"block {_ranges(which)}", kind["layout"] + "".join(sizes)


def _recurrent(config: dict[str, Any]) -> Iterator[Row]:
    yield "layers", f"{config['n_layers']} of d_model {config['d_model']:,}, recurrent"
    yield "embedding", f"of d_embed {config['d_embed']:,}"
    yield "context", f"any number of tokens of a vocabulary of {config['vocab_size']:,}"


def _extras(config: dict[str, Any]) -> str:
    """What not every model of this shape has."""
    extras = {
        "qkv_bias": "biases on queries, keys and values",
        "o_bias": "bias on the output of attention",
        "mlp_bias": "biases in the mlp",
        "qk_norm": "norms on queries and keys",
    }
    said = [text for key, text in extras.items() if config[key]]
    if latent := config["latent"]:
        said.append(f"latent attention, {latent['kv_rank']} wide")
    return ", ".join(said) or "none"


def _experts(
    n_experts: int, d_ff: int, shared_d_ff: int, first: int, routing: dict[str, Any]
) -> str:
    """Say how many there are, and who passes which."""
    groups, kept, capacity = (routing[key] for key in ("groups", "groups_kept", "capacity"))
    parts = [f"{n_experts} of d_ff {d_ff:,}, {routing['k']} for each token"]
    if groups > 1:
        parts.append(f"of {kept} in {groups} groups")
    if shared_d_ff:
        parts.append(f"and one of d_ff {shared_d_ff:,} for all")
    if first:
        parts.append(f"from layer {first} on")
    if capacity is not None:
        parts.append(f"each takes {capacity:g} times its share")
    return ", ".join(parts)


def _positions(type: str, kind: str = "", **numbers: Any) -> str:
    """Name the way, and of RoPE the numbers."""
    listed = ", ".join(f"{key} {_number(value)}" for key, value in numbers.items())
    return f"RoPE, {kind}: {listed}" if kind else type


def _window(windows: Sequence[int | None]) -> str:
    widths = dict.fromkeys(width for width in windows if width is not None)
    parts = []
    for width in widths:
        layers = [i for i, of_layer in enumerate(windows) if of_layer == width]
        where = "every layer" if len(layers) == len(windows) else f"layers {_ranges(layers)}"
        parts.append(f"{width:,} tokens in {where}")
    return "; ".join(parts) or "none"


def _ranges(numbers: Sequence[int]) -> str:
    """Write 0, 1, 2, 5 as 0-2, 5."""
    starts = [i for i in numbers if i - 1 not in numbers]
    ends = [i for i in numbers if i + 1 not in numbers]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in pairs)


def _number(value: Any) -> str:
    if type(value) is bool:
        return "yes" if value else "no"
    return f"{value:,.0f}" if value == int(value) else f"{value:.6g}"


def _tokens(ids: Sequence[int], names: dict[int, str]) -> str:
    said = [f"{id_} {shown(names[id_])}" if id_ in names else f"{id_}" for id_ in ids]
    return ", ".join(said) or "none"


def _tokenizer(tokenizer: dict[str, Any]) -> str:
    bos = ", prompts begin with BOS" if tokenizer["add_bos"] else ""
    return f"{tokenizer['kind']} of {tokenizer['size']:,} tokens, from {tokenizer['file']}{bos}"


def _cost(described: dict[str, Any]) -> Iterator[Row]:
    memory, flops = described["memory"], described["flops_per_token"]
    available = described["available_memory"]
    there = "" if available is None else f" ({quantity(available, 'B')} available)"
    yield (
        "memory",
        ", ".join(f"{quantity(size, 'B')} in {dtype}" for dtype, size in memory.items()) + there,
    )
    cache, itself = described["kv_bytes"]["float32"], quantity(flops["itself"], "FLOP")
    if not flops["each_before"]:
        yield "state", f"{quantity(cache['context'], 'B')} in float32, however long the text"
        yield "arithmetic", f"{itself} a token, wherever it stands"
        return
    if cache["token"]:
        yield (
            "KV cache",
            f"{quantity(cache['token'], 'B')} a token in float32, "
            f"{quantity(cache['context'], 'B')} for the whole context",
        )
    which = "before it" if cache["token"] else "of its text"  # an encoder keeps none, and sees all
    yield (
        "arithmetic",
        f"{itself} a token, and {quantity(flops['each_before'], 'FLOP')} more for each token "
        f"{which}",
    )


def _wrapped(row: Row) -> list[str]:
    """Return a row as lines of at most WIDTH columns; a path stays whole."""
    label, text = row
    if label == "path":
        return [f"{label:<{LABEL}}{text}"]
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"{label:<{LABEL}}", subsequent_indent=" " * LABEL,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _table(tensors: Sequence[dict[str, Any]]) -> list[str]:
    """List tensors: name, dtype, shape, bytes."""
    cells = [
        (
            plain(tensor["name"]),
            tensor["dtype"],
            " × ".join(map(str, tensor["shape"])) or "scalar",
            quantity(tensor["bytes"], "B"),
        )
        for tensor in tensors
    ]
    widths = [max(len(cell[i]) for cell in cells) for i in range(4)] if cells else []
    return [
        f"{name:<{widths[0]}}  {dtype:<{widths[1]}}  {shape:>{widths[2]}}  {size:>{widths[3]}}"
        for name, dtype, shape, size in cells
    ]


if __name__ == "__main__":
    sys.exit(main())
