"""Can attention be had in 8 bits, when a few numbers are a hundred times as large as the rest?

A rounding to e4m3 is relative, so outliers should do no harm; but it needs a scale, and the outlier
of a block sets it for all. FlashAttention-3 claims 2.6 times less error than one scale per tensor
(Shah et al. 2024, arXiv:2407.08608, table 3), by a scale for each block of rows and by incoherent
processing: a random rotation that spreads an outlier among the features of its row.

Expected: the rotation gives most of the gain where there are outliers, block scales little; where
there are none, on plain Gaussian numbers, neither gives anything. Errors are the root mean square
of the difference from attention in float64.

    python examples/14_fp8_attention.py --quick
    python examples/14_fp8_attention.py
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.ops.attention import attention_forward
from tinyllm.ops.flash import flash_attention_forward
from tinyllm.ops.fp8 import fp8_attention

xp = get_backend("numpy")
BLOCK = 128  # rows that share a scale
Rows = dict[str, list[float]]


def gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.standard_normal(shape, dtype=np.float32)


def with_outliers(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """The paper's N(0, 1) + N(0, 100) · Bernoulli(0.001): one number in a thousand is large."""
    outliers = 10.0 * rng.standard_normal(shape) * (rng.random(shape) < 0.001)
    return gaussian(rng, shape) + outliers.astype(np.float32)


# The ways to compute the same. In 16 bits the whole matrix of scores is rounded between its steps;
# in tiles, scores and sums stay in float32, so only what goes in and comes out is.


def half(x: Any) -> Any:
    return x.astype(np.float16).astype(np.float32)


def by_the_formula(q: Any, k: Any, v: Any) -> Any:
    scores = half(half(q @ k.swapaxes(-1, -2)) * np.float32(q.shape[-1] ** -0.5))
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return half(half(e / e.sum(axis=-1, keepdims=True)) @ v)


def errors(n: int, d: int, seed: int, draw: Callable[..., Any]) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    q, k, v = (half(draw(rng, (1, 1, n, d))) for _ in range(3))
    signs = rng.choice([-1.0, 1.0], d).astype(np.float32)
    outputs = {
        "16 bits, by the formula": by_the_formula(q, k, v),
        "16 bits, in tiles": half(flash_attention_forward(xp, q, k, v)[0]),
        "8 bits, one scale": fp8_attention(xp, q, k, v),
        "8 bits, block scales": fp8_attention(xp, q, k, v, block=BLOCK),
        "8 bits, rotated": fp8_attention(xp, q, k, v, signs=signs),
        "8 bits, both": fp8_attention(xp, q, k, v, block=BLOCK, signs=signs),
    }
    exact, _ = attention_forward(xp, *(x.astype(np.float64) for x in (q, k, v)))
    return {name: float(np.sqrt(np.mean((o - exact) ** 2))) for name, o in outputs.items()}


def table(title: str, n: int, d: int, seeds: int, draw: Callable[..., Any]) -> dict[str, float]:
    """Print each way's error, and how many times smaller it is than with one scale."""
    runs = [errors(n, d, seed, draw) for seed in range(seeds)]
    mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    gains = {name: mean["8 bits, one scale"] / error for name, error in mean.items()}
    print(f"{title}, {n} tokens, {d} features, seeds: {seeds}")
    for name, error in mean.items():
        print(f"    {name:24} {error:.2e}  {gains[name]:7.2f}")
    return gains


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a short text, in seconds")
    n, d, seeds = (512, 64, 4) if parser.parse_args().quick else (2048, 128, 5)
    large = table("with outliers", n, d, seeds, with_outliers)
    plain = table("Gaussian", n, d, seeds, gaussian)
    both, rotated, blocks = (
        large[f"8 bits, {name}"] for name in ("both", "rotated", "block scales")
    )
    claims = {
        f"outliers: block scales and rotation gain {both:.2f}, more than 1.4": both > 1.4,
        "outliers: they gain 2.6, as in the paper": both > 2.4,
        "outliers: the rotation gives most of it": rotated - 1 > 2 * (blocks - 1),
        "Gaussian: they gain nothing": 0.95 < plain["8 bits, both"] < 1.05,
        "in tiles 16 bits lose less than by the formula": large["16 bits, in tiles"]
        > large["16 bits, by the formula"],
    }
    for claim, holds in claims.items():
        print(f"{claim}: {'reproduced' if holds else 'not reproduced at this scale'}")


if __name__ == "__main__":
    main()
