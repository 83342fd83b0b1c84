"""Print what every kind of transformer is made of, as a Markdown table: python tools/families.py

One line for each example in `tinyllm.models.examples`, of which every family has one; of models of
two stacks a line for each.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tinyllm.models.config import StackConfig
from tinyllm.models.examples import EXAMPLES, example_config
from tinyllm.models.families import FAMILIES
from tinyllm.models.positions import way_of
from tinyllm.models.rope import Rope
from tinyllm.models.seq2seq_config import Seq2SeqConfig
from tinyllm.models.seq2seq_families import SEQ2SEQ_FAMILIES

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
    "embed_dim": "embeddings projected",
    "tie_embeddings": "tied",
}


def row(name: str, config: StackConfig, architecture: str) -> tuple[str, ...]:
    """Return the cells of a line."""
    positions = way_of(config.positions).name
    if isinstance(config.positions, Rope) and config.positions.fraction != 1.0:
        positions += " in part"
    besides = [text for field, text in BESIDES.items() if getattr(config, field)]
    besides += ["windows"] if any(config.windows) else []
    return (
        name, architecture, config.layout, config.norm, config.mlp,
        positions, ", ".join(besides),
    )  # fmt: skip


def table() -> list[tuple[str, ...]]:
    """Return all lines."""
    lines = []
    for name in EXAMPLES:
        config = example_config(name)
        if isinstance(config, StackConfig):
            lines.append(row(name, config, FAMILIES[config.family].architecture))
        elif isinstance(config, Seq2SeqConfig):
            architecture = SEQ2SEQ_FAMILIES[config.family].architecture
            for side in ("encoder", "decoder"):
                stack = replace(getattr(config, side), tie_embeddings=config.tie_embeddings)
                lines.append(row(f"{name} {side}", stack, architecture))
    return lines


def main() -> int:
    lines = [COLUMNS, tuple("-" * len(column) for column in COLUMNS), *table()]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(f"| {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
