"""Does attention need memory that grows with the square of the text?

By its formula it does: N queries meet N keys, and the backward pass wants their probabilities. In
tiles it does not: scores are made, used and forgotten, and made again when going back
(FlashAttention, Dao et al. 2022, arXiv:2205.14135; 2023, arXiv:2307.08691). The arithmetic is the
same, and so are the numbers, to rounding.

Expected: the most memory that forward and backward take together grows like N² by the formula and
like N in tiles, and outputs and gradients are equal to 2e-6 of the largest. Which is faster is
another matter: tiles skip what is hidden, half of a causal text, and take a call for each step.

    python examples/04_attention_memory.py --quick
    python examples/04_attention_memory.py
"""

import argparse
import math
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from threadpoolctl import threadpool_limits

from tinyllm.backend import get_backend
from tinyllm.memory import available_memory
from tinyllm.ops.attention import attention_backward, attention_forward, attention_mask
from tinyllm.ops.flash import flash_attention_backward, flash_attention_forward
from tinyllm.ops.position_mask import PositionMask

xp = get_backend("numpy")
FEATURES = 64
TILE = 128, 128


def by_the_formula(q: Any, k: Any, v: Any, dy: Any) -> list[Any]:
    positions = np.arange(q.shape[2])
    o, saved = attention_forward(xp, q, k, v, mask=attention_mask(xp, positions, positions))
    return [o, *attention_backward(xp, dy, saved)[:3]]


def in_tiles(q: Any, k: Any, v: Any, dy: Any) -> list[Any]:
    positions = np.arange(q.shape[2])
    mask = PositionMask(queries=positions, keys=positions)
    o, saved = flash_attention_forward(xp, q, k, v, mask=mask, tile=TILE)
    return [o, *flash_attention_backward(xp, dy, saved)[:3]]


class Run(NamedTuple):
    """What one call gave, the most bytes that it held at a time, and how long it took."""

    results: list[Any]
    peak: int
    seconds: float


def measure(f: Callable[..., list[Any]], arrays: Any) -> Run:
    tracemalloc.start()
    start = time.perf_counter()
    with threadpool_limits(1):  # threads that wait for each other in small products measure nothing
        results = f(*arrays)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Run(results, peak, seconds)


def difference(results: list[Any], expected: list[Any]) -> float:
    """The largest, of o and the three gradients, each relative to its largest entry."""
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(results, expected))


def exponent(peaks: dict[int, int]) -> float:
    """Return p of bytes = c + a Nᵖ from the three longest texts, each twice as long as the last.

    Differences are free of c, which is the memory of one tile.
    """
    short, middle, long = (peaks[n] for n in sorted(peaks)[-3:])
    return math.log2((long - middle) / (middle - short))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="short texts, in seconds")
    lengths = [2**i for i in range(8, 12 if parser.parse_args().quick else 15)]
    print(f"one head of {FEATURES} features, causal, forward and backward, float32")
    print(f"{'tokens':>8}{'formula, MB':>14}{'tiles, MB':>12}{'formula, s':>13}{'tiles, s':>11}")
    squares, lines, worst = {}, {}, 0.0
    for n in lengths:
        rng = np.random.default_rng(n)
        arrays = rng.standard_normal((4, 1, 1, n, FEATURES), dtype=np.float32)
        tiled = measure(in_tiles, arrays)
        lines[n], megabytes, seconds = tiled.peak, "-", "-"
        if 6 * 4 * n * n < (available_memory() or 2**33):
            whole = measure(by_the_formula, arrays)
            worst = max(worst, difference(tiled.results, whole.results))
            squares[n], megabytes, seconds = (
                whole.peak,
                f"{whole.peak / 1e6:.1f}",
                f"{whole.seconds:.2f}",
            )
        print(f"{n:>8}{megabytes:>14}{tiled.peak / 1e6:>12.2f}{seconds:>13}{tiled.seconds:>11.2f}")
    if len(squares) < len(lengths):
        print("- needs more memory than this computer has free")
    formula, tiles = exponent(squares), exponent(lines)
    claims = {
        f"by the formula memory grows like N^{formula:.2f}, N² expected": abs(formula - 2) < 0.1,
        f"in tiles memory grows like N^{tiles:.2f}, N expected": abs(tiles - 1) < 0.1,
        f"the largest difference is {worst:.1e}, at most 2e-6 expected": worst <= 2e-6,
    }
    for claim, holds in claims.items():
        print(f"{claim}: {'reproduced' if holds else 'not reproduced at this scale'}")


if __name__ == "__main__":
    main()
