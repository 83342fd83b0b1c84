"""Whether the tests of decoding would notice a missing barrier: each is taken out once.

Fences are not looked for here: the emulator's memory is that of the host, which keeps stores in
order. Nor is the barrier between what a block of attention writes and its count: whether another
block then reads too early is luck.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT
from emulator.module import COMPILER
from tinyllm_cuda.launch import KERNELS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with"),
]
BARRIER = re.compile(r"^ *__syncthreads\(\);(.*)$", re.MULTILINE)
LUCK = "// all of it is written, and shared memory has been read"
FILES = (
    "vector.h", "decode_attention.cu", "experts_route.cu", "gemv_experts.cu", "sampler.h",
    "sampler.cu",
)  # fmt: skip


def works(folder):
    command = [sys.executable, ROOT / "tests" / "emulator" / "decode_workload.py", folder]
    found = os.pathsep.join(str(ROOT / part) for part in (".", "backends", "tests"))
    environment = os.environ | {"PYTHONPATH": found}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    except subprocess.TimeoutExpired:
        return False
    assert done.returncode <= 1
    return done.returncode == 0


def test_without_a_mutation_all_is_right():
    assert works(KERNELS)


@pytest.mark.parametrize("name", FILES)
def test_missing_barriers_are_noticed(name, tmp_path):
    text, missed = (KERNELS / name).read_text(), []
    for i, match in enumerate(BARRIER.finditer(text)):
        if LUCK in match.group(0):
            continue
        folder = shutil.copytree(KERNELS, tmp_path / str(i))
        (folder / name).write_text(text[: match.start()] + text[match.end() :])
        if works(folder):
            missed.append(match.group(0).strip())
    assert not missed
