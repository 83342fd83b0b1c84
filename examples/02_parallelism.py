"""What does it cost that a recurrent network takes its steps one after another?

A Transformer reads all tokens of a text at once, a recurrent network one at a time: n sequential
steps instead of a constant number (Vaswani et al. 2017, arXiv:1706.03762, table 1). For that its
work grows with n, where attention's grows with n². Here models of as many parameters take a
training step, forward and backward, on the same number of tokens: as many short texts, or few long.

Expected: the work of a recurrent step is the same in total, but its products get small, so time
per step grows towards linear in T; a Transformer's is flat until attention's n² counts. On a GPU,
where small products cost what large ones do, the gap is wider.

    python examples/02_parallelism.py --quick
    python examples/02_parallelism.py
"""

import argparse
import sys
import time
from math import prod
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.models.architecture import Config, architecture
from tinyllm.models.config import DecoderConfig
from tinyllm.models.recurrent_config import CELLS, RecurrentConfig
from tinyllm.models.rope import Rope
from tinyllm.params import nest
from tinyllm.training.gradients import batch_gradients

VOCABULARY, LAYERS = 256, 2
Times = dict[str, dict[int, float]]


def transformer(d_model: int) -> DecoderConfig:
    return DecoderConfig(
        family="llama", vocab_size=VOCABULARY, d_model=d_model, d_ff=8 * d_model // 3,
        n_layers=LAYERS, n_heads=d_model // 32, n_kv_heads=d_model // 32, head_dim=32,
        max_seq_len=2**20, norm_eps=1e-5, positions=Rope(theta=10000.0),
        windows=(None,) * LAYERS, tie_embeddings=True,
    )  # fmt: skip


def recurrent(family: str, like: Config) -> RecurrentConfig:
    """A network of this cell with as many parameters, as nearly as a width allows."""

    def of_width(width: int) -> RecurrentConfig:
        return RecurrentConfig(
            family=family, vocab_size=VOCABULARY, d_embed=width, d_model=width, n_layers=LAYERS,
            tie_embeddings=True,
        )  # fmt: skip

    wanted = parameters(like)
    return min(map(of_width, range(8, 1024, 2)), key=lambda c: abs(parameters(c) - wanted))


def parameters(config: Config) -> int:
    return sum(map(prod, architecture(config).param_shapes(config).values()))


def seconds(xp: Any, config: Config, B: int, T: int, repeats: int) -> float:
    """Return the time of the fastest of several steps: gradients of all parameters."""
    rng = np.random.default_rng(0)
    params = architecture(config).init_params(config, rng)
    p = nest({name: xp.asarray(x) for name, x in params.items()})
    tokens, best = xp.asarray(rng.integers(0, VOCABULARY, (B, T + 1))), float("inf")
    for _ in range(repeats + 1):  # the first also warms up
        start = time.perf_counter()
        batch_gradients(xp, config, p, tokens[:, :-1], tokens[:, 1:])
        xp.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def growth(times: dict[int, float]) -> float:
    """How many times as long the longest texts take as the shortest."""
    return times[max(times)] / times[min(times)]


CLAIMS = {
    "every recurrent step takes longer the longer the texts are, at the same number of tokens": (
        True, lambda x: all(growth(x[name]) > 1.5 for name in CELLS if name in x),
    ),
    "a Transformer's takes less than half of that more": (
        True,
        lambda x: 2 * (growth(x["transformer"]) - 1)
        < min(growth(x[name]) for name in CELLS if name in x) - 1,
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="numpy", choices=["numpy", "cupy"])
    parser.add_argument("--quick", action="store_true", help="small models, in seconds")
    args = parser.parse_args()
    xp = get_backend(args.backend)
    d_model, tokens, repeats = (64, 2048, 1) if args.quick else (256, 8192, 3)
    lengths = (16, 128) if args.quick else (16, 32, 64, 128, 256, 512, 1024)
    models: dict[str, Config] = {"transformer": transformer(d_model)}
    models |= {name: recurrent(name, models["transformer"]) for name in ("rnn", "gru", "lstm")}
    print(f"milliseconds of a step on {tokens} tokens, cut into texts of T")
    print(f"{'':12} {'parameters':>10} {'T:':>3}" + "".join(f"{T:>9}" for T in lengths))
    found: Times = {}
    for name, config in models.items():
        found[name] = {T: seconds(xp, config, tokens // T, T, repeats) for T in lengths}
        cells = "".join(f"{1000 * s:>9.0f}" for s in found[name].values())
        print(f"{name:12} {parameters(config):>10,} {'':3}{cells}   x {growth(found[name]):.1f}")
    for claim, (expected, holds) in CLAIMS.items():
        verdict = "reproduced" if holds(found) else "not reproduced at this scale"
        verdict += ", as expected" if holds(found) == expected else ", not as expected"
        print(f"{claim}: {'cannot be tested at this scale' if args.quick else verdict}")


if __name__ == "__main__":
    main()
