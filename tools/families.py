"""Print what every kind of decoder is made of, as a Markdown table: python tools/families.py

One line for each example in `tinyllm.models.examples`, of which every family has one.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tinyllm.models.config import StackConfig
from tinyllm.models.examples import EXAMPLES, example_config
from tinyllm.models.families import FAMILIES
from tinyllm.models.positions import way_of
from tinyllm.models.rope import Rope

COLUMNS = ("kind", "class on disk", "block", "norm", "mlp", "positions", "besides")
BESIDES = {  # fields that are not None or False, and what that means
    "experts": "experts",
    "latent": "latent attention",
    "qkv_bias": "biases on q, k, v",
    "o_bias": "on the output",
    "mlp_bias": "in the mlp",
    "qk_norm": "norms on q, k",
    "qkv_clip": "q, k, v clipped",
    "attention_softcap": "scores capped",
    "logit_softcap": "logits capped",
    "embedding_norm": "embeddings normalised",
    "tie_embeddings": "tied",
}


def row(name: str, config: StackConfig) -> tuple[str, ...]:
    """Return the cells of a line."""
    positions = way_of(config.positions).name
    if isinstance(config.positions, Rope) and config.positions.fraction != 1.0:
        positions += " in part"
    besides = [text for field, text in BESIDES.items() if getattr(config, field)]
    besides += ["windows"] if any(config.windows) else []
    return (
        name, FAMILIES[config.family].architecture, config.layout, config.norm, config.mlp,
        positions, ", ".join(besides),
    )  # fmt: skip


def table() -> list[tuple[str, ...]]:
    """Return all lines."""
    configs = {name: example_config(name) for name in EXAMPLES}
    return [row(name, c) for name, c in configs.items() if isinstance(c, StackConfig)]


def main() -> int:
    lines = [COLUMNS, tuple("-" * len(column) for column in COLUMNS), *table()]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(f"| {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
