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


class OutOfMemoryError(MemoryError):
    """As CuPy has it; the sizes are in what it says."""

    __module__ = "cupy.cuda.memory"


def failing(monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr("tinyllm.model.load", fail)


@pytest.mark.parametrize(
    ("free", "said"), [(lambda: 7_000_000, "; 7 MB are free; "), (None, "; "), ("broken", "; ")]
)
def test_a_full_gpu_is_one_line_with_sizes_and_the_way_out(
    free, said, monkeypatch, tmp_path, capsys
):
    def broken():
        raise CUDARuntimeError("cudaErrorUnknown")

    failing(monkeypatch, OutOfMemoryError("Out of memory allocating 1,024 bytes (limit: 7)."))
    if free is not None:
        backend = types.SimpleNamespace(free_memory=broken if free == "broken" else free)
        monkeypatch.setitem(sys.modules, "tinyllm_cupy", backend)
    assert main(["-m", str(tmp_path), "the", "--backend", "cupy"]) == 2
    assert capsys.readouterr().err == (
        f"error: not enough memory on the GPU: Out of memory allocating 1,024 bytes (limit: 7)"
        f"{said}fewer or shorter texts at once, a smaller model or --storage bfloat16 take less; "
        f"--backend numpy runs on the CPU\n"
    )


def test_memory_that_python_lacks_is_one_line(monkeypatch, tmp_path, capsys):
    failing(monkeypatch, MemoryError())
    monkeypatch.setattr("tinyllm.cli.out_of_memory.available_memory", lambda: None)
    assert main(["-m", str(tmp_path), "the"]) == 2
    assert capsys.readouterr().err == (
        "error: not enough memory; fewer or shorter texts at once, a smaller model or --storage "
        "bfloat16 take less\n"
    )


def test_a_gpu_that_fails_is_one_line(monkeypatch, tmp_path, capsys):
    class Failed(CUDARuntimeError):
        __module__ = "cupy_backends.cuda.api.runtime"

    failing(monkeypatch, Failed("cudaErrorIllegalAddress: an illegal memory access"))
    assert main(["-m", str(tmp_path), "the", "--backend", "cupy"]) == 3
    assert capsys.readouterr().err == (
        "error: the GPU failed: cudaErrorIllegalAddress: an illegal memory access; python -m "
        "tinyllm doctor says what it finds\n"
    )
    failing(monkeypatch, RuntimeError("ours"))
    with pytest.raises(RuntimeError, match="ours"):
        main(["-m", str(tmp_path), "the"])
