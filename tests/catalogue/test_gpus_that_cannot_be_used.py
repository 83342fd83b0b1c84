"""A CuPy that is missing, broken or without a GPU is one line and exit code 3."""

import sys
import types

import pytest

from tinyllm.backend import get_backend
from tinyllm.errors import BackendUnavailableError
from tinyllm.generate import main

pytestmark = pytest.mark.untraced


class CUDARuntimeError(RuntimeError):
    """As CuPy has it."""


class FakeCuPy(types.ModuleType):
    """Has whatever name is asked for, but those in `lacks`; `is_available` gives or raises."""

    def __init__(self, available=True, lacks=()):
        super().__init__("cupy")
        self._available, self._lacks = available, lacks

    def __getattr__(self, name):
        if name.startswith("__") or name in self._lacks:
            raise AttributeError(name)
        return self.is_available if name == "is_available" else lambda *args, **options: None

    def is_available(self):
        if isinstance(self._available, Exception):
            raise self._available
        return self._available


class Broken:
    """A finder that fails where `import cupy` looks for it."""

    def __init__(self, error):
        self._error = error

    def find_spec(self, name, path=None, target=None):
        if name == "cupy":
            raise self._error
        return None


INSTALL, NO_GPU = "pip install cupy-cuda13x", "--backend numpy runs on the CPU"
CASES = {
    "not installed": (ModuleNotFoundError("No module named 'cupy'"), INSTALL),
    "no libcuda": (ImportError("libcuda.so.1: cannot open\n\nhint in a second line"), INSTALL),
    "a library of another kind": (OSError("libnvrtc.so.13: wrong ELF class"), INSTALL),
    "a wheel that fails": (RuntimeError("CuPy is not correctly installed."), INSTALL),
    "a wheel that fails without a word": (RuntimeError(), INSTALL),
    "built for another NumPy": (AttributeError("module 'numpy' has no attribute 'core'"), INSTALL),
    "an older CuPy": (FakeCuPy(lacks=["astype"]), INSTALL),
    "another package of that name": (types.ModuleType("cupy"), INSTALL),
    "no device": (FakeCuPy(available=False), NO_GPU),
    "a driver too old": (
        FakeCuPy(available=CUDARuntimeError("cudaErrorInsufficientDriver: driver too old")),
        NO_GPU,
    ),
}


@pytest.fixture(params=CASES)
def says(request, monkeypatch):
    """Put the case's CuPy in the place of any other; return what the refusal must say."""
    cupy, says = CASES[request.param]
    for name in [name for name in sys.modules if name.split(".")[0] in ("cupy", "cupyx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "tinyllm_cupy", raising=False)
    if isinstance(cupy, Exception):
        monkeypatch.setattr(sys, "meta_path", [Broken(cupy), *sys.meta_path])
    else:
        for name in ("cupy", "cupyx", "cupyx.scipy", "cupyx.scipy.special"):
            monkeypatch.setitem(sys.modules, name, cupy)
    yield says
    sys.modules.pop("tinyllm_cupy", None)  # half of one


def test_the_library_says_what_to_do(says):
    with pytest.raises(BackendUnavailableError) as caught:
        get_backend("cupy")
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_command_says_it_in_one_line_and_ends_with_3(says, tmp_path, capsys):
    assert main(["-m", str(tmp_path), "the", "--backend", "cupy"]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: the cupy backend needs ")


def test_a_full_gpu_is_one_line(monkeypatch, tmp_path, capsys):
    """CuPy's OutOfMemoryError is a MemoryError; it has the sizes in it."""

    def fail(*args, **options):
        raise MemoryError("Out of memory allocating 1,073,741,824 bytes (allocated so far: 7)")

    monkeypatch.setattr("tinyllm.model.load", fail)
    assert main(["-m", str(tmp_path), "the", "--backend", "cupy"]) == 2
    assert "error: not enough memory: Out of memory allocating 1,073,7" in capsys.readouterr().err
