"""A machine without a GPU: the tests' stand-in for CuPy, whose kernels run on an emulator.

It shows that every section runs. Its times mean nothing.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tools.gpu.machine import DTYPES, Machine, torch_here

TESTS = Path(__file__).resolve().parents[2] / "tests"


class DryMachine(Machine):
    """The same without a GPU, from the tests' stand-in for CuPy."""

    dry = True

    def __init__(self, *, peers: bool = False) -> None:
        """Needs the tests, which are in a checkout, and a C++ compiler."""
        sys.path.append(str(TESTS))
        stand_in = importlib.import_module("emulator.cupy_stand_in")
        self.xp = stand_in.load()
        self.cp = self.xp.device().xp
        self.torch, self.place = torch_here() if peers else None, "cpu"

    def to_torch(self, x: Any) -> Any:
        """Copy, by way of float32: PyTorch knows no bfloat16 of NumPy's."""
        host = self.xp.to_numpy(x)
        tensor = self.torch.from_numpy(np.array(host, np.float32))
        return tensor.to(getattr(self.torch, host.dtype.name))

    def from_torch(self, x: Any) -> Any:
        """Copy."""
        name = str(x.dtype).removeprefix("torch.")
        return self.xp.asarray(x.detach().float().numpy().astype(DTYPES[name]))

    def synchronize(self) -> None:
        """Nothing runs on."""

    def _timer(self, name: str, call: Callable[[], Any]) -> Callable[[], float]:
        return lambda: self._one(call)
