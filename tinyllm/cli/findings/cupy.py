"""What the doctor finds out about CuPy, the GPU and its driver, whatever of them is broken."""

import importlib
import warnings
from importlib import metadata
from typing import Any

from tinyllm.cli.findings.finding import ABSENT, OK, PROBLEM, Finding, reason

_INSTALL = "python -m pip install cupy-cuda13x (cupy-cuda12x for CUDA 12)"
_ROOM = 5e8  # bytes of a GPU that a small model needs
_DRIVER = "update the NVIDIA driver, or install the CuPy wheel of an older CUDA"


def cupy_findings() -> list[Finding]:
    """Look for CuPy's wheels, import it, count devices, ask the first one, run a kernel."""
    wheels = _wheels()
    if len(wheels) > 1:
        return [_finding(
            PROBLEM, f"{' and '.join(wheels)} are both installed and overwrite each other",
            f"python -m pip uninstall {' '.join(wheels)}, then install one",
        )]  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cupy = importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name == "cupy" and not wheels:
            return [
                _finding(ABSENT, "not installed: --backend numpy only", f"for a GPU: {_INSTALL}")
            ]
        return [_finding(PROBLEM, f"does not import: {reason(error)}", f"reinstall: {_INSTALL}")]
    except Exception as error:  # ImportError of libcuda, OSError, RuntimeError, or anything
        advice = f"reinstall: {_INSTALL}" if "cuda" not in str(error).lower() else (
            f"install the NVIDIA driver and its CUDA libraries, or reinstall: {_INSTALL}"
        )  # fmt: skip
        return [_finding(PROBLEM, f"does not import: {reason(error)}", advice)]
    found = f"{getattr(cupy, '__version__', '?')}{f' ({wheels[0]})' if wheels else ''}"
    try:
        return _devices(cupy, found)
    except Exception as error:  # a stub, a foreign package called cupy, CUDA's own errors
        return [_finding(PROBLEM, f"{found}: {reason(error)}", f"reinstall: {_INSTALL}")]


def _devices(cupy: Any, found: str) -> list[Finding]:
    """Ask CUDA what there is; CuPy imports without a GPU, and fails when one is used."""
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        text = str(error)
        if "cudaErrorNoDevice" in text:
            count = 0
        elif "InsufficientDriver" in text:
            return [_finding(PROBLEM, f"{found}: the driver is too old: {reason(error)}", _DRIVER)]
        else:
            raise
    if count == 0:
        return [_finding(PROBLEM, f"{found}: there is no NVIDIA GPU", "use --backend numpy")]
    driver, cuda = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    what = f"{found}, CUDA {_version(cuda)}, driver for CUDA up to {_version(driver)}"
    findings = [_finding(OK, what)]
    if driver // 1000 < cuda // 1000:
        findings = [_finding(PROBLEM, f"{what}: the driver is too old", _DRIVER)]
    properties = runtime.getDeviceProperties(0)
    name = properties["name"]
    free, total = runtime.memGetInfo()
    full = free < _ROOM
    findings.append(Finding(
        name="gpu", status=PROBLEM if full else OK,
        advice="nvidia-smi says who has its memory; --backend numpy runs on the CPU" if full else
        "",
        what=f"{name.decode() if isinstance(name, bytes) else name}, compute capability "
        f"{properties['major']}.{properties['minor']}, {free / 1e9:.1f} GB free of "
        f"{total / 1e9:.1f}{f', the first of {count}' if count > 1 else ''}",
    ))  # fmt: skip
    return [*findings, _kernel(cupy)]


def _kernel(cupy: Any) -> Finding:
    """Compile a kernel, run it, look at the result."""
    source = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }'
    try:
        x = cupy.ones(4, dtype="float32")
        cupy.RawKernel(source, "twice")((1,), (4,), (x,))
        right = cupy.asnumpy(x).tolist() == [2.0] * 4
    except Exception as error:
        return Finding(
            name="kernel", status=PROBLEM, what=f"does not compile or run: {reason(error)}",
            advice="the CUDA compiler may be missing, which is in a CUDA toolkit, or: "
            "python -m pip install 'cupy-cuda13x[ctk]'",
        )  # fmt: skip
    if not right:
        return Finding(name="kernel", status=PROBLEM, what="gives wrong numbers", advice=_DRIVER)
    return Finding(name="kernel", status=OK, what="compiled and run")


def _wheels() -> list[str]:
    """Every distribution that brings a package called cupy."""
    names = {(d.metadata["Name"] or "").lower() for d in metadata.distributions()}
    return sorted(n for n in names if n == "cupy" or n.startswith(("cupy-cuda", "cupy-rocm")))


def _version(number: int) -> str:
    """CUDA counts 13.1 as 13010."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _finding(status: str, what: str, advice: str = "") -> Finding:
    return Finding(name="cupy", status=status, what=what, advice=advice)
