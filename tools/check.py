"""Run all checks: python tools/check.py [--all]

Formatting, lint, types, tests: what a commit must pass, in under two minutes. --all adds the
comparisons with PyTorch and transformers, which must be installed, the examples, and how many
branches the tests cover, which takes a third of their time.
"""

import argparse
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = [sys.executable, "-m"]
TYPED = ["tinyllm", "backends/tinyllm_numpy", "backends/tinyllm_cuda", "tools"]
TWO_PROCESSES = ["-n", "2", "--dist", "worksteal"]
COVERAGE = ["--cov", "--cov-report=term:skip-covered"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def steps(everything: bool) -> dict[str, list[str]]:
    """Return the commands by name, in order."""
    typed = TYPED + (["backends/tinyllm_cupy"] if find_spec("cupy") else [])
    which = COVERAGE if everything else ["-m", "not parity and not slow"]
    return {
        "format": [*PYTHON, "ruff", "format", "--check", "--quiet", "."],
        "lint": [*PYTHON, "ruff", "check", "--quiet", "."],
        "types": [*PYTHON, "mypy", *typed],
        "tests": [*PYTHON, "pytest", "-q", *TWO_PROCESSES, *which],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="compare with PyTorch, too")
    everything = parser.parse_args().all
    if everything:
        missing = [name for name in ("torch", "transformers") if not find_spec(name)]
        if missing:
            print(f"--all needs {' and '.join(missing)}: pip install '.[parity]'", file=sys.stderr)
            return 2
    failed = []
    for name, command in steps(everything).items():
        start = time.perf_counter()
        code = subprocess.run(
            command, cwd=ROOT, env=os.environ | ONE_THREAD, check=False
        ).returncode
        print(f"{'ok  ' if code == 0 else 'FAIL'} {name} {time.perf_counter() - start:.1f} s")
        failed += [name] * (code != 0)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
