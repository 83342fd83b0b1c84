"""What pruning did, as JSON, as Markdown, and as a picture where matplotlib is installed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinyllm.models.families import OWN
from tinyllm.picture import can_draw, save_picture

Facts = dict[str, Any]


def write_report(folder: Path, facts: Facts) -> bool:
    """Write report.json, report.md and report.png; return whether the picture could be drawn."""
    (folder / "report.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text("\n".join(markdown(facts)) + "\n", encoding="utf-8")
    return draw(folder / "report.png", facts)


def markdown(facts: Facts) -> Iterator[str]:
    """Yield the lines of a page that says what was done, on what text, and how well it went."""
    yield f"# {facts['method']}: {facts['model']}"
    yield ""
    for line in summary(facts):
        yield f"- {line}"
    yield ""
    if "matrices" in facts:
        yield "| matrix | shape | zeros | sparsity |"
        yield "|---|---|---|---|"
        for row in facts["matrices"]:
            shape = " × ".join(map(str, row["shape"]))
            zeros = f"{row['zeros']:,} of {row['weights']:,}"
            yield f"| {row['name']} | {shape} | {zeros} | {row['sparsity']:.6f} |"
    if "groups" in facts:
        yield "| module | groups | removed | sparsity |"
        yield "|---|---|---|---|"
        for row in facts["groups"]:
            numbers = f"{row['groups']} | {row['removed']} | {row['sparsity']:.4f}"
            yield f"| {row['where']} | {numbers} |"
        yield ""
    if "blocks" in facts:
        yield from _blocks(facts)


def _blocks(facts: Facts) -> Iterator[str]:
    """Yield a table of what was measured of each block."""
    keys = list(facts["blocks"][0])
    yield f"| block | {' | '.join(key.replace('_', ' ') for key in keys)} | |"
    yield "|---" * (len(keys) + 2) + "|"
    for i, block in enumerate(facts["blocks"]):
        numbers = " | ".join(f"{block[key]:.4f}" for key in keys)
        fate = "linear" if facts["linear"] else "removed"
        yield f"| {i} | {numbers} | {fate if i in facts['removed'] else ''} |"


def summary(facts: Facts) -> Iterator[str]:
    """Yield the same in a few lines for people."""
    if "matrices" in facts:
        yield (
            f"{facts['method']}, {facts['pattern']}: {facts['zeros']:,} of {facts['weights']:,} "
            f"weights of the blocks are zero, {facts['sparsity']:.6f}"
        )
        if facts["routers"]:
            yield "the gates of the mixtures of experts are left as they are"
    else:
        parameters = facts["parameters"]
        yield (
            f"{facts['method']}: {_what_went(facts)}; "
            f"{parameters['before']:,} parameters became {parameters['after']:,}"
        )
        only = "" if facts["whole_heads"] else ", whose d_model transformers 5 wants in whole heads"
        only = ", which no other program reads" if facts["family"] == OWN else only
        yield f"a model of family {facts['family']}{only}"
    if calibration := facts["calibration"]:
        yield (
            f"calibration: {calibration['samples']} samples of {calibration['seqlen']} tokens of "
            f"{calibration['text']}, seed {calibration['seed']}"
        )
    if perplexity := facts["perplexity"]:
        yield (
            f"perplexity: {perplexity['before']:.4f} before, {perplexity['after']:.4f} after; "
            f"{perplexity['tokens']:,} tokens scored of {perplexity['text']}, protocol "
            f"{perplexity['protocol']}, context {perplexity['context']}"
        )


def _what_went(facts: Facts) -> str:
    said = []
    if "groups" in facts:
        went, total = (sum(row[key] for row in facts["groups"]) for key in ("removed", "groups"))
        said.append(f"removed {went:,} of {total:,} groups, by {facts['importance']}")
    if "removed" in facts:
        listed = ", ".join(map(str, facts["removed"]))
        linear = facts["linear"]
        said.append(f"made blocks {listed} linear" if linear else f"removed blocks {listed}")
    return " and ".join(said)


def draw(path: Path, facts: Facts) -> bool:
    """Draw the sparsity of each kind of matrix, or what was measured of each block, over blocks.

    Returns False, and does nothing, where matplotlib is not installed.
    """
    if not can_draw():
        return False

    def over_blocks(figure: Any) -> None:
        axes, curves = figure.subplots(), _curves(facts)
        for label, values in curves.items():
            axes.plot(range(len(values)), values, marker="o", markersize=3, label=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="block", title=facts["method"])
        if max(map(max, curves.values()), default=0.0) <= 1.0:  # shares, of which 1 is the most
            axes.set(ylim=(-0.03, 1.03))
        if curves:
            axes.legend(fontsize="small")

    save_picture(path, over_blocks, inches=(7, 4))
    return True


def _curves(facts: Facts) -> dict[str, list[float]]:
    """Return curves by name; those that are equal, and would hide each other, as one."""
    alike: dict[tuple[float, ...], list[str]] = {}
    for name, values in _all_curves(facts).items():
        alike.setdefault(tuple(values), []).append(name)
    return {_joined(names): list(values) for values, names in alike.items()}


def _joined(names: list[str]) -> str:
    """Name several curves, what their names begin with once.

    >>> _joined(["sparsity of q_proj", "sparsity of k_proj"])
    'sparsity of q_proj, k_proj'
    """
    start, between, _ = names[0].rpartition(" ")
    return ", ".join([names[0], *(name.removeprefix(start + between) for name in names[1:])])


def _all_curves(facts: Facts) -> dict[str, list[float]]:
    curves: dict[str, list[float]] = {}
    for row in facts.get("matrices", ()):
        curves.setdefault(f"sparsity of {row['name'].split('.')[-2]}", []).append(row["sparsity"])
    for row in facts.get("groups", ()):
        part = row["where"].rpartition(".")[2]
        curves.setdefault(f"removed of {part}", []).append(row["sparsity"])
    for block in facts.get("blocks", ()):
        for key, value in block.items():
            curves.setdefault(key.replace("_", " "), []).append(value)
    return curves
