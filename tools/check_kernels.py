"""Compile every kernel for every GPU, without a GPU: python tools/check_kernels.py

The launch code of `tinyllm_cuda` runs on a device that notes launches and makes none, so what is
compiled is what would run: each source with its options, for each architecture, dtype and size of
heads. The compiler comes with pip install '.[kernels]'.

Exit code 1 where a kernel spills registers, lacks the instructions that it was written for, asks
for more registers or shared memory than a block can have, or starts with another number of them
than its warpgroups hand on; 2 where there is no compiler.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backends"))

import ml_dtypes
import numpy as np

from tinyllm_cuda.attention import Band, flash_backward, flash_forward
from tinyllm_cuda.decode_kernels import every_kernel
from tinyllm_cuda.fp8 import flash_forward_fp8
from tinyllm_cuda.index_add import index_add
from tinyllm_cuda.launch import KERNELS, Device
from tinyllm_cuda.launch import launch as launch_kernel
from tinyllm_cuda.tiers import choose
from tools.nvrtc import (
    Usage,
    compile_cubin,
    disassemble,
    load_nvrtc,
    nvidia_file,
    tensor_instructions,
    usages,
)

SHARED_MEMORY = {80: 163, 89: 99, 90: 227}  # KiB that a block of each architecture may have
REGISTERS = 64 * 1024  # of a multiprocessor: one block has to fit
DTYPES = [np.dtype(t) for t in (np.float32, np.float16, ml_dtypes.bfloat16)]
HEAD_DIMS = (32, 64, 96, 128, 256)
EXPECTED = {"flash_mma": "HMMA", "flash_wgmma": "HGMMA", "flash_fp8": "QGMMA"}  # by source
HANDED_ON = ("flash_wgmma", "flash_fp8")  # sources whose warpgroups hand on registers: setmaxnreg
STARTS_WITH = 168  # registers of a thread there: 3 x 168 are what 24 and 2 x 240 take
PLAIN = ("flash_delta",)  # kernels of these sources that have no products of matrices
COLUMNS = ("source", "kernel", "GPU", "macros", "regs", "spilled", "KiB", "tensor")
MISSING = "no NVRTC and nvdisasm here; pip install '.[kernels]' brings them, and needs no GPU"


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A kernel as launch code asks for it."""

    architecture: int
    code: str
    options: tuple[str, ...]
    kernel: str
    threads: int
    shared_memory: int

    def gpu(self) -> str:
        """What it is compiled for: on Hopper sm_90a, with the instructions that only it has."""
        return next(o for o in self.options if o.startswith("-arch="))[len("-arch=") :]

    def macros(self) -> str:
        """The macros by which the same source makes several kernels."""
        defined = (o[2:] for o in self.options if o.startswith("-D"))
        return " ".join(macro for macro in defined if not macro.startswith("HEADERS"))


def run_attention(device: Device) -> None:
    """Launch attention's kernels for each dtype and size of heads that have some."""
    for dtype, head_dim, softcap in product(DTYPES, HEAD_DIMS, (0.0, 1.0)):
        if softcap and dtype == np.float16:
            continue  # bfloat16 has the same, but for names of instructions
        if choose(device, dtype, head_dim) is not None:
            band = Band(scale=1.0, softcap=softcap)
            q, k = (np.zeros((1, heads, 1, head_dim), dtype) for heads in (2, 1))
            o, lse = flash_forward(device, q, k, k, band)
            flash_backward(device, o, q, k, k, o, lse, band)


def run_fp8(device: Device) -> None:
    """Launch attention in 8 bits where there is any, with rotated rows and without."""
    for dtype, head_dim in product(DTYPES[1:], (64, 128)):
        if choose(device, dtype, head_dim) == "wgmma":
            q, signs = np.zeros((1, 1, 1, head_dim), dtype), np.ones(head_dim, np.float32)
            flash_forward_fp8(device, q, q, q, Band(scale=1.0), signs)
            flash_forward_fp8(device, q, q, q, Band(scale=1.0, softcap=1.0))


def run_decode(device: Device) -> None:
    """Launch what a step of decoding may be made of."""
    for kernel in every_kernel():
        launch_kernel(device, kernel, (1,), ())


def run_index_add(device: Device) -> None:
    """Add up rows in each dtype."""
    for dtype in (np.float32, np.float64):
        index_add(device, 1, np.zeros(1, np.int64), np.zeros((1, 1), dtype))


RUNS: list[Callable[[Device], None]] = [run_attention, run_fp8, run_decode, run_index_add]


def launches(architecture: int) -> list[Launch]:
    """Run all launch code on a device that only notes what is asked of it."""
    noted: dict[Launch, None] = {}  # in order, each once

    def raw_module(code: str, options: tuple[str, ...]) -> Any:
        if not any(option.startswith("-arch") for option in options):  # CuPy adds it
            options = (*options, f"-arch=sm_{architecture}")

        def get_function(name: str) -> Any:
            def function(grid: Any, block: Sequence[int], values: Any, *, shared_mem: int) -> None:
                launch = Launch(
                    architecture=architecture, code=code, options=options, kernel=name,
                    threads=block[0], shared_memory=shared_mem,
                )  # fmt: skip
                noted[launch] = None

            return function

        return SimpleNamespace(get_function=get_function)

    for tensor_map in (lambda *arguments: np.zeros(1, "V128"), None):
        device = Device(
            raw_module=raw_module,
            xp=np,
            architecture=architecture,
            shared_memory=SHARED_MEMORY[architecture] * 1024,
            tensor_map=tensor_map,
        )
        for run in RUNS:
            run(device)
    return list(noted)


def problems(source: str, launch: Launch, usage: Usage, tensor: Counter[str]) -> list[str]:
    """Say what is wrong with a kernel that compiled."""
    wanted = {EXPECTED[name] for name in EXPECTED if source.startswith(name)}
    wanted = set() if launch.kernel in PLAIN else wanted
    shared, most = launch.shared_memory + usage.shared_memory, SHARED_MEMORY[launch.architecture]
    registers = -(-usage.registers // 8) * 8 * launch.threads  # given out by eights
    found = {
        f"spills {usage.spilled} bytes of registers": usage.spilled > 0,
        f"keeps {usage.stack} bytes on a stack, in memory": usage.stack > usage.spilled,
        f"has products by {set(tensor) or 'no tensor core'}, not {wanted or 'plain ones'}": (
            wanted != set(tensor)
        ),
        f"asks for {shared} bytes of shared memory, of {most * 1024}": shared > most * 1024,
        f"asks for {registers} registers, of {REGISTERS}": registers > REGISTERS,
        f"starts with {usage.registers} registers, not {STARTS_WITH}, and would wait for ever": (
            source.startswith(HANDED_ON) and usage.registers != STARTS_WITH
        ),
    }
    return [text for text, wrong in found.items() if wrong]


def check(nvrtc: Any, nvdisasm: Path, wanted: list[Launch]) -> tuple[list[tuple], list[str]]:
    """Compile each source that is launched; returns the table's lines, and what is wrong."""
    sources = {path.read_text(): path.name for path in KERNELS.glob("*.cu")}
    lines: list[tuple] = []
    wrong: list[str] = []

    def build(key: tuple[str, tuple[str, ...]]) -> tuple[str, dict[str, Counter[str]]]:
        cubin, log = compile_cubin(nvrtc, *key)
        looked_at = cubin and sources[key[0]].startswith("flash")  # which takes time
        return log, tensor_instructions(disassemble(nvdisasm, cubin)) if looked_at else {}

    keys = list(dict.fromkeys((launch.code, launch.options) for launch in wanted))
    with ThreadPoolExecutor(2) as pool:
        built = dict(zip(keys, pool.map(build, keys), strict=True))
    for launch in wanted:
        log, tensor = built[launch.code, launch.options]
        where = (sources[launch.code], launch.kernel, launch.gpu(), launch.macros())
        usage, counts = usages(log).get(launch.kernel), tensor.get(launch.kernel, Counter())
        if usage is None:
            wrong.append(f"{' '.join(where)}: {log.strip() or 'there is no such kernel'}")
            continue
        found = problems(where[0], launch, usage, counts)
        found += re.findall(r"wgmma[^\n]*serialized[^\n]*", log)[:1]  # it waits after each product
        wrong += [f"{' '.join(where)}: {text}" for text in found]
        kib = f"{(launch.shared_memory + usage.shared_memory) / 1024:.1f}"
        products = " ".join(f"{name} {count}" for name, count in counts.items()) or "-"
        lines.append((*where, str(usage.registers), str(usage.spilled), kib, products))
    return lines, wrong


def main() -> int:
    nvrtc, nvdisasm = load_nvrtc(), nvidia_file("*/bin/nvdisasm")
    if nvrtc is None or nvdisasm is None:
        print(MISSING, file=sys.stderr)
        return 2
    wanted = [launch for architecture in SHARED_MEMORY for launch in launches(architecture)]
    lines, wrong = check(nvrtc, nvdisasm, wanted)
    table = [COLUMNS, *lines]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip())
    print("\n".join(wrong) if wrong else f"all {len(lines)} kernels are as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
