"""A proof in a process of its own: a kernel that faults ends all that its process would do yet."""

import os
import subprocess
import sys
from pathlib import Path

FAULTS = {  # what its file says where nothing after it can be trusted
    "CUDARuntimeError": "met a CUDARuntimeError", "CUDADriverError": "met a CUDADriverError",
    '"status": "running"': "did not end",
}  # fmt: skip
SECONDS, MORE = 100, 30  # for its section, and to start and end in


def prove(script: Path, folder: Path) -> str:
    """Let `script` run its correctness alone, into `folder`/alone; return what became of it.

    Where it hangs, faults or breaks, Hopper's own kernels, whose waits have no end, are left out in
    this process: TINYLLM_WGMMA=0. What is only inexact is not their fault alone, and stays.
    """
    folder = folder / "alone"
    command = [
        sys.executable, str(script), "--sections", "correctness", "--no-peers", "--alone",
        "--seconds", str(SECONDS), "--out", str(folder),
    ]  # fmt: skip
    try:
        code = subprocess.run(command, timeout=SECONDS + MORE, check=False).returncode
        fault = "" if code in (0, 1) else f"ended with {code}"
    except subprocess.TimeoutExpired:
        fault = f"hung for {SECONDS + MORE} s"
    if not fault:
        written = "".join(path.read_text() for path in sorted(folder.glob("*.json"))[-1:])
        fault = next((said for text, said in FAULTS.items() if text in written), "")
    if not fault:
        return "done"
    os.environ["TINYLLM_WGMMA"] = "0"
    return f"{fault}; without Hopper's kernels from here on (TINYLLM_WGMMA=0)"
