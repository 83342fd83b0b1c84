"""Time the NumPy backend's attention beside PyTorch's: python tools/bench_attention.py

Causal attention in float32, forward and backward, against scaled_dot_product_attention on as many
threads, in turns; the best of each counts. Without PyTorch our own figures are printed alone. Then
the memory that each length takes beyond its arguments and results, and how that grows.
"""

import argparse
import math
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.ops.position_mask import PositionMask

xp = get_backend("numpy")


Pair = tuple[Callable[[], Any], Callable[[Any], Any]]  # forward, and backward on what it saved


def ours(q: Any, k: Any, v: Any, dy: Any) -> Pair:
    positions = np.arange(q.shape[2])
    mask = PositionMask(queries=positions, keys=positions)
    return (
        lambda: xp.attention_forward(q, k, v, mask=mask)[1],
        lambda saved: xp.attention_backward(dy, saved),
    )


def theirs(*arrays: Any) -> Pair | None:
    try:
        import torch
    except ImportError:
        return None
    q, k, v, dy = (torch.from_numpy(x).requires_grad_() for x in arrays)
    attention = torch.nn.functional.scaled_dot_product_attention

    def forward() -> Any:
        return attention(q, k, v, is_causal=True)

    return forward, lambda y: torch.autograd.grad(y, (q, k, v), dy)


def race(pairs: Sequence[Pair], rounds: int) -> list[tuple[float, float]]:
    """Return the fewest seconds of each, forward and backward."""
    best = [(math.inf, math.inf)] * len(pairs)
    for _ in range(rounds):
        for i, (forward, backward) in enumerate(pairs):
            time.sleep(0.1)  # threads that wait for more of the last one's work fall asleep
            start = time.perf_counter()
            saved = forward()
            middle = time.perf_counter()
            backward(saved)
            end = time.perf_counter()
            best[i] = min(best[i][0], middle - start), min(best[i][1], end - middle)
    return best


def extra_memory(arrays: Sequence[Any]) -> int:
    """Return the most bytes that a forward and a backward pass hold beyond what they return."""
    forward, backward = ours(*arrays)
    tracemalloc.start()
    saved = forward()
    results = backward(saved)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del results
    return peak - kept


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args(argv)
    print(f"{args.heads} heads of {args.head_dim}, causal, float32, NumPy {np.__version__}")
    print(f"{'tokens':>8}{'forward':>26}{'backward':>26}{'extra memory':>16}")
    extra = {}
    for n in args.lengths:
        shape = 4, 1, args.heads, n, args.head_dim
        arrays = list(np.random.default_rng(n).standard_normal(shape, dtype=np.float32))
        pairs = [ours(*arrays), theirs(*arrays)]
        found = race([pair for pair in pairs if pair is not None], args.rounds)
        extra[n] = extra_memory(arrays)
        cells = [f"{1e3 * seconds:.1f} ms" for seconds in found[0]]
        if len(found) > 1:
            cells = [
                f"{cell}, {peer / own:.2f}x PyTorch"
                for cell, own, peer in zip(cells, *found, strict=True)
            ]
        print(f"{n:>8}{cells[0]:>26}{cells[1]:>26}{extra[n] / 1e6:>13.1f} MB")
    if len(extra) > 1:
        slope = np.polyfit(np.log(list(extra)), np.log(list(extra.values())), 1)[0]
        print(f"extra memory grows like N^{slope:.2f}")


if __name__ == "__main__":
    main()
