"""tinyllm.doctor: whatever is missing or broken is a line that says what to do."""

import json
import os
import sys
import types
from collections import namedtuple
from importlib import metadata

import numpy as np
import pytest

import tinyllm_numpy
from cli.commands import run
from emulator import cupy_stand_in
from emulator.module import COMPILER
from tinyllm.cli.findings import caches, kernels, machine
from tinyllm.cli.findings import cupy as gpus
from tinyllm.cli.findings import python as packages
from tinyllm.cli.findings.finding import Finding
from tinyllm.doctor import main
from tinyllm.errors import BackendUnavailableError

Wheel = namedtuple("Wheel", "metadata")


@pytest.fixture
def doctor(capsys, monkeypatch, tmp_path):
    """Run it with an empty home: -> exit code, findings by name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def doctor():
        code = main(["--json"])
        out, err = capsys.readouterr()
        assert err == ""
        found = {}
        for finding in json.loads(out):
            found.setdefault(finding["name"], []).append(finding)
        return code, found

    return doctor


@pytest.fixture
def cupy(monkeypatch):
    """Put a module, or an exception, in the place of CuPy; and wheels."""

    def cupy(module, wheels=("cupy-cuda13x",)):
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "cupy":
                    raise module
                return None

        monkeypatch.setattr(metadata, "distributions", lambda: [Wheel({"Name": w}) for w in wheels])
        monkeypatch.delitem(sys.modules, "cupy", raising=False)
        if isinstance(module, BaseException):
            monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
        else:
            monkeypatch.setitem(sys.modules, "cupy", module)
        return gpus.cupy_findings()

    return cupy


class CUDARuntimeError(RuntimeError):
    pass


def gpu(count=1, cuda=13000, driver=13010, kernel=lambda *_: None, result=(2.0, 2.0, 2.0, 2.0),
        free=30_000_000_000):  # fmt: skip
    """A CuPy that answers as a real one does, with a device or without."""

    def device_count():
        if isinstance(count, Exception):
            raise count
        return count

    array = types.SimpleNamespace(tolist=lambda: list(result))
    runtime = types.SimpleNamespace(
        getDeviceCount=device_count,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: cuda,
        getDeviceProperties=lambda _: {"name": b"NVIDIA A100", "major": 8, "minor": 0},
        memGetInfo=lambda: (free, 40_000_000_000),
    )
    return types.SimpleNamespace(
        __version__="14.0.1", cuda=types.SimpleNamespace(runtime=runtime),
        ones=lambda *_, **__: array, asnumpy=lambda x: x, RawKernel=lambda *_: kernel,
    )  # fmt: skip


def test_a_sound_machine_without_a_gpu(doctor, monkeypatch):
    monkeypatch.setattr(gpus, "_wheels", lambda: [])
    monkeypatch.setattr(gpus, "importlib", types.SimpleNamespace(import_module=missing))
    code, found = doctor()
    assert code == 0
    assert {"python", *packages.NEEDED, "blas", "machine", "memory", "storage"} <= set(found)
    assert found["cupy"][0]["status"] == "–"
    assert "python -m pip install cupy-cuda13x" in found["cupy"][0]["advice"]
    assert found["numpy"] == [
        {"name": "numpy", "status": "ok", "what": metadata.version("numpy"), "advice": ""}
    ]


def missing(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_each_finding_is_a_line(capsys, monkeypatch):
    monkeypatch.setattr(caches, "cache_findings", lambda: [])
    monkeypatch.setattr(gpus, "cupy_findings", lambda: [
        Finding(name="cupy", status="problem", what="a\nb\x1b[31m", advice="do c"),
    ])  # fmt: skip
    assert main([]) == 1
    out = capsys.readouterr().out
    assert "problem cupy          a b\\x1b[31m → do c\n" in out
    assert all(line.startswith(("ok      ", "–       ", "problem ")) for line in out.splitlines())
    assert main(["--color=always"]) == 1
    assert "\x1b[31mproblem\x1b[0m cupy" in capsys.readouterr().out


class TestCupy:
    def test_not_installed_is_no_problem(self, cupy):
        (found,) = cupy(ModuleNotFoundError("No module named 'cupy'", name="cupy"), wheels=())
        assert found.status == "–"
        assert "--backend numpy only" in found.what
        assert "pip install cupy-cuda13x" in found.advice

    @pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError, AttributeError])
    def test_an_import_that_fails_is_a_problem(self, cupy, error):
        (found,) = cupy(error("libcuda.so.1: cannot open\n shared object file"))
        assert found.status == "problem"
        assert found.what == (
            f"does not import: {error.__name__}: libcuda.so.1: cannot open shared object file"
        )
        assert "install the NVIDIA driver" in found.advice

    def test_a_part_of_it_that_is_missing_is_a_problem(self, cupy):
        (found,) = cupy(ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock"))
        assert found.status == "problem"
        assert "fastrlock" in found.what
        assert found.advice.startswith("reinstall")

    def test_a_wheel_without_the_package_is_a_problem(self, cupy):
        (found,) = cupy(ModuleNotFoundError("No module named 'cupy'", name="cupy"))
        assert found.status == "problem"

    def test_two_wheels_are_a_problem_and_nothing_is_imported(self, cupy):
        (found,) = cupy(AssertionError(), wheels=("cupy-cuda12x", "numpy", "CuPy-cuda13x"))
        assert found.status == "problem"
        assert found.what.startswith("cupy-cuda12x and cupy-cuda13x are both installed")
        assert found.advice.startswith("python -m pip uninstall cupy-cuda12x cupy-cuda13x")

    def test_a_working_gpu(self, cupy):
        library, device, kernel = cupy(gpu(count=2))
        assert {f.status for f in (library, device, kernel)} == {"ok"}
        assert library.what == "14.0.1 (cupy-cuda13x), CUDA 13.0, driver for CUDA up to 13.1"
        assert device.what == (
            "NVIDIA A100, compute capability 8.0, 30.0 GB free of 40.0, the first of 2"
        )

    def test_a_gpu_that_others_have_filled(self, cupy):
        _, device, _ = cupy(gpu(free=400_000_000))
        assert device.status == "problem"
        assert "0.4 GB free of 40.0" in device.what
        assert device.advice.startswith("nvidia-smi says who has its memory; --backend numpy")

    @pytest.mark.parametrize("count", [0, CUDARuntimeError("cudaErrorNoDevice: no device")])
    def test_no_device(self, cupy, count):
        (found,) = cupy(gpu(count=count))
        assert found.status == "problem"
        assert "there is no NVIDIA GPU" in found.what
        assert found.advice == "use --backend numpy"

    def test_a_driver_too_old_for_any_device(self, cupy):
        error = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
        (found,) = cupy(gpu(count=error))
        assert found.status == "problem"
        assert "the driver is too old" in found.what
        assert "update the NVIDIA driver" in found.advice

    def test_a_driver_of_an_older_cuda(self, cupy):
        library, *_ = cupy(gpu(cuda=13000, driver=12080))
        assert library.status == "problem"
        assert library.what.endswith("driver for CUDA up to 12.8: the driver is too old")

    def test_another_error_of_cuda(self, cupy):
        (found,) = cupy(gpu(count=CUDARuntimeError("cudaErrorUnknown: unknown error")))
        assert found.status == "problem"
        assert "CUDARuntimeError: cudaErrorUnknown" in found.what

    def test_another_package_of_that_name(self, cupy):
        (found,) = cupy(types.SimpleNamespace(), wheels=("cupy",))
        assert found.status == "problem"
        assert found.what.startswith("? (cupy): AttributeError")

    def test_a_kernel_that_does_not_compile(self, cupy):
        def fail(*_):
            raise RuntimeError("nvrtc: error: failed to open libnvrtc-builtins.so")

        *_, kernel = cupy(gpu(kernel=fail))
        assert kernel.status == "problem"
        assert "libnvrtc-builtins" in kernel.what
        assert kernel.advice.endswith("python -m pip install 'cupy-cuda13x[ctk]'")

    def test_a_kernel_that_computes_nonsense(self, cupy):
        *_, kernel = cupy(gpu(result=(2.0, 1.0, 2.0, 2.0)))
        assert (kernel.status, kernel.what) == ("problem", "gives wrong numbers")


@pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
class TestKernels:
    """The backend itself, over a stand-in for CuPy."""

    @pytest.fixture
    def xp(self, monkeypatch):
        xp = cupy_stand_in.load()
        both = {"cupy": xp, "numpy": tinyllm_numpy}
        monkeypatch.setattr("tinyllm.backend.get_backend", both.get)
        return xp

    def found(self):
        return {finding.name: finding for finding in kernels.kernel_findings()}

    def test_what_runs_and_by_which_kernels(self, xp):
        found = self.found()
        assert {f.status for f in found.values()} == {"ok"}
        assert found["attention"].what.startswith("as NumPy's, to ")
        assert found["kernels"].what == "float32 f32, bfloat16 mma, float16 mma"
        assert found["products"].what == "of 16 bits, summed in float32"

    def test_without_the_backend_there_is_nothing_to_say(self, monkeypatch):
        def fail(name):
            raise BackendUnavailableError("no GPU")

        monkeypatch.setattr("tinyllm.backend.get_backend", fail)
        assert kernels.kernel_findings() == []

    def test_a_kernel_that_does_not_compile_shows_the_line(self, xp, monkeypatch):
        def fail(**options):
            raise xp.device.__globals__["KernelError"]("kernel.cu(3): error: x[0] = y;")

        monkeypatch.setattr(xp.device.__globals__["cp"], "RawModule", fail)
        found = self.found()["attention"]
        assert found.status == "problem"
        assert "kernel.cu(3): error: x[0] = y;" in found.what

    @pytest.mark.parametrize(("shared", "major"), [(10_000, 8), (166_912, 7)])
    def test_less_shared_memory_or_an_older_gpu_is_slower(self, shared, major, xp, monkeypatch):
        properties = cupy_stand_in.device_properties(0) | {
            "sharedMemPerBlockOptin": shared, "major": major,
        }  # fmt: skip
        monkeypatch.setattr(
            xp.device.__globals__["cp"].cuda.runtime, "getDeviceProperties", lambda _: properties
        )
        xp.device.__globals__["_device"].cache_clear()
        found = self.found()
        assert found["attention"].status == "ok"
        assert found["kernels"].status == "–"
        assert "in tiles of the array library" in found["kernels"].what
        assert found["kernels"].advice == (
            f"slower: the GPU has compute capability {major}.0 and {shared} bytes of shared memory "
            "for a block"
        )

    def test_memory_that_runs_out_has_the_sizes_and_the_way_out(self, xp, monkeypatch):
        def fail(*arguments):
            raise MemoryError("Out of memory allocating 1,024 bytes")

        monkeypatch.setattr(xp, "asarray", fail)
        for found in self.found().values():
            assert found.status == "problem"
            assert "allocating 1,024 bytes" in found.what
            assert "--backend numpy" in found.advice

    @pytest.mark.parametrize("hide", [lambda o: 0 * o, lambda o: np.nan_to_num(o)])
    def test_wrong_numbers_and_hidden_nan_are_problems(self, hide, xp, monkeypatch):
        attend, multiply = xp.attention_forward, xp.matmul

        def wrong(*arrays, **options):
            o, saved = attend(*arrays, **options)
            return xp.asarray(hide(xp.to_numpy(o))), saved

        monkeypatch.setattr(xp, "attention_forward", wrong)
        monkeypatch.setattr(xp, "matmul", lambda a, b: 2.0 * multiply(a, b))
        found = self.found()
        assert {found[name].status for name in ("attention", "products")} == {"problem"}
        assert "off by" in found["attention"].what or "have NaN" in found["attention"].what

    def test_a_library_that_is_missing(self, xp, monkeypatch):
        def fail(a, b):
            raise ImportError('Failure finding "libcublasLt.so.13"')

        monkeypatch.setattr(xp, "matmul", fail)
        found = self.found()["products"]
        assert "libcublasLt.so.13" in found.what
        assert "cupy-cuda13x[ctk]" in found.advice


class TestPackages:
    def test_a_package_that_is_missing_or_broken(self, monkeypatch):
        for error in (ImportError("No module named x"), OSError("bad ELF"), RuntimeError("ABI")):

            def fail(name, error=error):
                raise error

            monkeypatch.setattr(packages, "importlib", types.SimpleNamespace(import_module=fail))
            found = packages._package("safetensors", (0, 5))
            assert found.status == "problem"
            assert str(error) in found.what
            assert found.advice == "python -m pip install safetensors"

    @pytest.mark.parametrize(
        ("version", "status"),
        [("2.0.9", "problem"), ("2.1rc1", "ok"), ("2.10.0", "ok"), ("3", "ok")],
    )
    def test_a_version_too_old_is_a_problem(self, monkeypatch, version, status):
        monkeypatch.setattr(metadata, "version", lambda _: version)
        found = packages._package("numpy", (2, 1))
        assert found.status == status
        assert ("'numpy>=2.1'" in found.advice) == (status == "problem")

    def test_blas_that_nobody_knows(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "threadpoolctl", None)
        assert packages._blas().status == "–"

    def test_blas_without_a_thread_pool(self, monkeypatch):
        library = types.SimpleNamespace(threadpool_info=lambda: [])
        monkeypatch.setitem(sys.modules, "threadpoolctl", library)
        assert packages._blas().what.endswith("threads unknown")


class TestMachine:
    def test_little_room_is_a_problem(self, monkeypatch):
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=5e8))
        (found,) = machine._storage()
        assert (found.status, found.what) == ("problem", "0.5 GB free in the home folder")

    def test_a_home_that_is_not_there(self, monkeypatch):
        monkeypatch.setenv("HOME", "/nonexistent/home")
        (found,) = machine._storage()
        assert found.status == "–"

    def test_memory_that_the_system_does_not_tell(self, monkeypatch):
        monkeypatch.setattr(machine, "_available", lambda: 0)
        assert next(machine._memory()).status == "ok"
        monkeypatch.delattr(os, "sysconf")
        assert next(machine._memory()).status == "–"

    def test_a_locale_without_utf8_is_named(self, monkeypatch):
        monkeypatch.setattr(machine.locale, "getpreferredencoding", lambda _: "cp1252")
        found = machine._terminal()
        assert (found.status, found.advice) == ("–", "tinyllm writes UTF-8 all the same")
        monkeypatch.setattr(machine.locale, "getpreferredencoding", lambda _: "UTF-8")
        assert machine._terminal().status == "ok"


class TestCaches:
    @pytest.fixture
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        monkeypatch.delenv("HF_HOME", raising=False)
        return tmp_path

    def put(self, cache, name, *files):
        folder = cache / f"models--{name.replace('/', '--')}" / "snapshots" / "abc"
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).touch()
        return folder

    def test_models_are_listed_and_the_incomplete_are_named(self, cache):
        self.put(cache, "org/whole", "config.json", "model.safetensors")
        self.put(cache, "org/pickled", "config.json", "pytorch_model.bin")
        (self.put(cache, "org/half", "config.json") / "model.safetensors").symlink_to("../gone")
        first, *models, home = caches.cache_findings()
        assert first.what == f"{cache}: 3 models"
        assert home.what.endswith("is not there")
        assert [m.status for m in models] == ["–", "–", "ok"]
        assert "download is incomplete" in models[0].what
        assert models[1].what == "org/pickled: no config.json with safetensors beside it"
        assert models[2].what == "org/whole"

    def test_many_models_are_counted(self, cache):
        for number in range(12):
            self.put(cache, f"org/m{number}")
        assert any(f.what == f"and 2 more in {cache}" for f in caches.cache_findings())

    def test_a_cache_that_cannot_be_read(self, cache, monkeypatch):
        def fail(self, pattern):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(caches.Path, "glob", fail)
        assert caches.cache_findings()[0].status == "problem"


def test_a_stub_of_cupy_on_the_path(tmp_path):
    """As a process, with all that importing a broken package does."""
    (tmp_path / "cupy.py").write_text("raise RuntimeError('CUDA path could not be detected')")
    from conftest import ROOT

    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    code, out, err = run("tinyllm", "doctor", env={"PYTHONPATH": path}, python=["-W", "error"])
    assert (code, err) == (1, b"")
    assert b"does not import: RuntimeError: CUDA path could not be detected" in out


def test_a_closed_output_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main([]) == 2
    assert "standard output is closed" in capsys.readouterr().err
