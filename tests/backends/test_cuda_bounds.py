"""No kernel reads or writes beyond an array, and a kernel that does is found out."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.module import CACHE, COMPILER
from tinyllm_cuda import launch

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with"),
    pytest.mark.skipif(sys.platform != "linux", reason="guards pages by mprotect"),
    pytest.mark.slow,
]
TESTS = Path(__file__).parents[1]
PROGRAM = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(TESTS), str(TESTS.parent), str(TESTS.parent / "backends")]}
from tinyllm_cuda import launch
from emulator import guarded
launch.KERNELS = Path(sys.argv[2])
guarded.main(sys.argv[1])
"""
GUARDS = [  # what keeps a tier within its arrays
    ("f32", "tile_f32.h", "if (row0 + r < rows) x ="),
    ("f32", "tile_f32.h", "if (row >= rows) continue;"),
    ("mma", "tile_mma.h", "row0 + r < rows"),
    ("mma", "fragment.h", "if (row + 8 * r < rows)"),
    ("wgmma", "fragment.h", "if (row + 8 * r < rows)"),
]


def exit_code(tier, kernels, cache=CACHE):
    command = [sys.executable, "-c", PROGRAM, tier, str(kernels)]
    env = os.environ | {"TINYLLM_EMULATOR_CACHE": str(cache)}
    return subprocess.run(command, capture_output=True, env=env, check=False).returncode


@pytest.mark.parametrize("tier", ["f32", "mma", "wgmma"])
def test_kernels_stay_within_their_arrays(tier):
    assert exit_code(tier, launch.KERNELS) == 0


@pytest.mark.parametrize(("tier", "file", "guard"), GUARDS)
def test_a_kernel_without_a_guard_ends_the_process(tier, file, guard, tmp_path):
    kernels = shutil.copytree(launch.KERNELS, tmp_path / "kernels")
    text = (kernels / file).read_text()
    assert guard in text
    left = "x =" if guard.endswith("x =") else "" if guard.endswith((")", ";")) else "true"
    (kernels / file).write_text(text.replace(guard, left))
    assert exit_code(tier, kernels, tmp_path) == -signal.SIGSEGV
