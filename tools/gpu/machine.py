"""Where the report is made: a GPU with CuPy, and PyTorch where it is."""

import gc
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from tinyllm.backend import get_backend

DTYPES = {
    "float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}  # fmt: skip
BLOCK = 2**22  # random numbers that larger arrays repeat
CALLS, ROUNDS = 10, 5  # of a graph, and of all contestants in turn
SECONDS = 0.06  # that are measured of each in a round, at least


class Machine:
    """A GPU: its arrays, its clock and its peers."""

    dry = False

    def __init__(self, *, peers: bool = True) -> None:
        """Raises BackendUnavailableError where there is no GPU."""
        self.xp: Any = get_backend("cupy")
        self.cp: Any = importlib.import_module("cupy")
        self.torch: Any = torch_here() if peers else None
        self.place = "cuda"

    def facts(self) -> dict[str, Any]:
        """Return the device and the versions of all that has to do with speed."""
        runtime = self.cp.cuda.runtime
        properties = runtime.getDeviceProperties(0)
        name = properties["name"]
        facts = {
            "device": name.decode() if isinstance(name, bytes) else name,
            "compute_capability": f"{properties['major']}.{properties['minor']}",
            "memory": properties["totalGlobalMem"], "driver": runtime.driverGetVersion(),
            "cuda": runtime.runtimeGetVersion(), "cupy": self.cp.__version__,
            "numpy": np.__version__, "python": sys.version.split()[0],
        }  # fmt: skip
        for name in ("torch", "transformers", "triton") if self.torch is not None else ():
            facts[name] = _version(name)
        return facts

    def random(self, shape: Sequence[int], dtype: str, seed: int = 0) -> Any:
        """Return normal numbers; zeros would be multiplied faster."""
        size = int(np.prod(shape))
        block = np.random.default_rng(seed).standard_normal(min(size, BLOCK), dtype=np.float32)
        flat = self.xp.asarray(block.astype(DTYPES[dtype]))
        if size > BLOCK:
            flat = self.xp.concat([flat] * -(-size // BLOCK))[:size]
        return self.xp.reshape(flat, tuple(shape))

    def to_torch(self, x: Any) -> Any:
        """Return the same memory as a tensor of PyTorch's; bfloat16 by way of its bits."""
        if x.dtype == DTYPES["bfloat16"]:
            return self.torch.from_dlpack(x.view(np.int16)).view(self.torch.bfloat16)
        return self.torch.from_dlpack(x)

    def from_torch(self, x: Any) -> Any:
        """Return a tensor's memory as an array."""
        if x.dtype == self.torch.bfloat16:
            bits = self.cp.from_dlpack(x.detach().view(self.torch.int16))
            return bits.view(DTYPES["bfloat16"])
        return self.cp.from_dlpack(x.detach())

    def race(self, contestants: dict[str, Callable[[], Any]]) -> dict[str, dict[str, Any]]:
        """Let all take turns; return of each the median of a call in seconds, and the spread.

        Ours are launched as a CUDA graph where they can be captured, for a launch from Python takes
        longer than a short kernel; PyTorch's one by one, which its queue hides for all but these.
        One that fails is left out, with why.
        """
        timers: dict[str, Callable[[], float]] = {}
        results: dict[str, Any] = {}
        for name, call in contestants.items():
            try:
                call()  # what a first call compiles is not measured
                self.synchronize()
                timers[name] = self._timer(name, call)
            except Exception as error:  # a kernel that this device or shape lacks
                results[name] = {"failed": said(error)}
        taken: dict[str, list[float]] = {name: [] for name in timers}
        for _ in range(ROUNDS):
            for name, timer in timers.items():
                taken[name].append(timer())
        for name, seconds in taken.items():
            middle = statistics.median(seconds)
            results[name] = {
                "seconds": middle, "spread": (max(seconds) - min(seconds)) / middle,
            }  # fmt: skip
        return results

    def seconds(self, call: Callable[[], Any], times: int = 3) -> float:
        """Return the fewest seconds of a call, on the host's clock, until the GPU is done."""
        return min(self._one(call) for _ in range(times))

    def synchronize(self) -> None:
        """Wait for all streams."""
        self.cp.cuda.runtime.deviceSynchronize()

    def free(self) -> None:
        """Give back what nothing uses, so that the other library can have it."""
        gc.collect()
        self.cp.get_default_memory_pool().free_all_blocks()
        if self.torch is not None and self.place == "cuda":
            self.torch.cuda.empty_cache()

    def _one(self, call: Callable[[], Any]) -> float:
        self.synchronize()
        start = time.perf_counter()
        call()
        self.synchronize()
        return time.perf_counter() - start

    def _timer(self, name: str, call: Callable[[], Any]) -> Callable[[], float]:
        """Return what measures a call: launched CALLS at a time, as long as a round is."""
        run = _several(call) if name.startswith("torch") else self._graph(call)
        start = time.perf_counter()
        run()
        self.synchronize()
        again = max(1, int(SECONDS / max(1e-6, time.perf_counter() - start)))

        def timer() -> float:
            first, last = self.cp.cuda.Event(), self.cp.cuda.Event()
            self.synchronize()
            first.record()
            for _ in range(again):
                run()
            last.record()
            last.synchronize()
            return self.cp.cuda.get_elapsed_time(first, last) / 1e3 / (CALLS * again)

        return timer

    def _graph(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """Capture CALLS calls; where that is refused, as cuBLAS is, launch them one by one."""
        stream = self.cp.cuda.Stream(non_blocking=True)
        try:
            with stream:
                call()  # so that the stream's part of the pool has the memory
                stream.synchronize()
                stream.begin_capture()
                try:
                    for _ in range(CALLS):
                        call()
                finally:
                    graph = stream.end_capture()
            return lambda: graph.launch(self.cp.cuda.get_current_stream())
        except Exception:
            self.synchronize()
            return _several(call)


def _several(call: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: [call() for _ in range(CALLS)]


def torch_here() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        return None


def _version(name: str) -> str | None:
    try:
        return str(importlib.import_module(name).__version__)
    except Exception:
        return None


def said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
