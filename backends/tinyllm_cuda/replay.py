"""Launches that never change: one CUDA graph, where there are graphs."""

from collections.abc import Callable
from typing import Any

from tinyllm_cuda.launch import Device


class Replay:
    """Call it to run what it was made of.

    On a GPU the first call launches one by one, which loads the kernels, as no capture may; the
    second captures, and from there on a call is one launch, on CuPy's current stream. Whatever is
    launched must use arrays that stay where they are, and only kernels of `launch`: cuBLAS cannot
    be captured. The emulator has no graphs, and launches one by one.
    """

    def __init__(self, device: Device, run: Callable[[], None]) -> None:
        """`run` launches kernels."""
        self._cuda: Any = getattr(device.xp, "cuda", None)  # CuPy's, where it is CuPy
        self._run, self._called = run, False
        self._graph: Any = None

    def __call__(self) -> None:
        """Run it once."""
        if self._cuda is None or not self._called:
            self._called = True
            self._run()
            return
        if self._graph is None:
            self._graph = self._captured()
        self._graph.launch()

    def _captured(self) -> Any:
        stream = self._cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                self._run()
            finally:
                graph = stream.end_capture()  # also where it failed, or the stream is of no use
        return graph
