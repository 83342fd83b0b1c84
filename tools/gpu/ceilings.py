"""What the machine can do at most, measured: everything else stands beside these three."""

from collections.abc import Iterator
from typing import Any

from tools.gpu.machine import Machine
from tools.gpu.results import Results, Row


def ceilings(machine: Machine, results: Results) -> Iterator[Row]:
    """Copy 4 GB, and multiply large matrices of random numbers in bfloat16 and in float32."""
    xp, n = machine.xp, 64 if machine.dry else 8192
    results.ceilings["bytes/s"] = _copied(machine, 2**10 if machine.dry else 2**30)
    yield {"what": "copy", "GB/s": results.ceilings["bytes/s"] / 1e9}
    for dtype in ("bfloat16", "float32"):
        a, b = machine.random((n, n), dtype), machine.random((n, n), dtype, 1)
        contestants: dict[str, Any] = {"ours": lambda a=a, b=b: xp.matmul(a, b)}
        if machine.torch is not None:
            ta, tb = machine.to_torch(a), machine.to_torch(b)
            contestants["torch"] = lambda ta=ta, tb=tb: ta @ tb
        found = machine.race(contestants)
        rates = {who: 2 * n**3 / x["seconds"] for who, x in found.items() if "seconds" in x}
        results.ceilings[f"{dtype} FLOP/s"] = max(rates.values())
        yield {
            "what": f"{n} x {n} product, {dtype}",
            **{f"{who} TFLOP/s": rate / 1e12 for who, rate in rates.items()},
        }


def _copied(machine: Machine, numbers: int) -> float:
    """Return the bytes a second that are read and written where float32 numbers are copied."""
    source = machine.random((numbers,), "float32")
    target = machine.xp.zeros_like(source)

    def copy() -> None:
        target[...] = source

    return 2 * source.nbytes / machine.race({"copy": copy})["copy"]["seconds"]
