"""NVIDIA's compiler as a library, NVRTC: from CUDA source to a GPU's code, with no GPU or driver.

pip install '.[kernels]' brings it. Here are found the wheels' files, what a compiled kernel takes
of a GPU, and which instructions it has.
"""

import ctypes
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CUPY = ("-std=c++17", "-ftz=true", "-default-device")  # what CuPy adds to the options
USAGE = re.compile(
    r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads"
    r".*?Used (\d+) registers(?:[^\n]*?(\d+) bytes smem)?",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a compiled kernel takes: registers of a thread, and bytes."""

    registers: int
    spilled: int
    shared_memory: int
    stack: int = 0  # with what is spilled: registers that a loop could not tell apart


def nvidia_file(pattern: str) -> Path | None:
    """Find a file of NVIDIA's wheels, which share the folder nvidia/ of site-packages."""
    spec = find_spec("nvidia")
    folders = (spec.submodule_search_locations if spec else None) or []
    return next((path for folder in folders for path in sorted(Path(folder).glob(pattern))), None)


def load_nvrtc() -> Any:
    """Load the compiler, after the library that it looks for by name alone; None if missing."""
    builtins = nvidia_file("*/lib/libnvrtc-builtins.so.*")
    library = nvidia_file("*/lib/libnvrtc.so.*")
    if builtins is None or library is None:
        return None
    ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(library))


def compile_cubin(nvrtc: Any, code: str, options: Sequence[str]) -> tuple[bytes, str]:
    """Compile a source; returns the binary, b"" where it fails, and what the compiler said."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    flags = [option.encode() for option in (*CUPY, *options, "--ptxas-options=-v")]
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None)
    failed = nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))

    def output(what: str) -> bytes:
        getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        getattr(nvrtc, f"nvrtcGet{what}")(program, text)
        return text.raw

    log = output("ProgramLog").rstrip(b"\0").decode()
    cubin = b"" if failed else output("CUBIN")
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return cubin, log


def usages(log: str) -> dict[str, Usage]:
    """Read what the compiler says of each kernel."""
    return {
        name: Usage(
            registers=int(registers),
            spilled=int(stores) + int(loads),
            shared_memory=int(shared or 0),
            stack=int(stack),
        )
        for name, stack, stores, loads, registers, shared in USAGE.findall(log)
    }


def disassemble(nvdisasm: Path, cubin: bytes) -> str:
    """Return a binary's instructions as text."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(nvdisasm), file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def tensor_instructions(text: str) -> dict[str, Counter[str]]:
    """Count the products of tensor cores in each kernel: HMMA, or Hopper's HGMMA and QGMMA."""
    parts = re.split(r"^\.text\.(\w+):", text, flags=re.MULTILINE)
    kernels = zip(parts[1::2], parts[2::2], strict=True)
    return {name: Counter(re.findall(r"\b(HMMA|HGMMA|QGMMA)\.", body)) for name, body in kernels}
