"""tinyllm.backend and the backends themselves"""

import math
import os
import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from strategies import rngs, sizes
from tinyllm.backend import Backend, get_backend
from tinyllm.errors import BackendUnavailableError, UsageError


def test_an_unknown_name_says_which_names_there_are():
    with pytest.raises(UsageError, match="'numpy' and 'cupy'"):
        get_backend("tpu")


def run_with_cupy(stub, tmp_path):
    """Ask for the cupy backend in a process whose `cupy` is the given source."""
    (tmp_path / "cupy.py").write_text(stub)
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "import tinyllm.backend, tinyllm.errors\n"
        "try: tinyllm.backend.get_backend('cupy')\n"
        "except tinyllm.errors.BackendUnavailableError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("error", ["ImportError", "OSError", "RuntimeError"])
def test_a_missing_or_broken_cupy_is_named_with_what_to_install(error, tmp_path):
    said = run_with_cupy(f"raise {error}('libcuda.so.1 is not here\\nsecond line')", tmp_path)
    assert "pip install cupy-cuda13x" in said
    assert said.endswith("libcuda.so.1 is not here\n")


def test_a_missing_backend_ends_a_command_with_3():
    assert BackendUnavailableError.exit_code == 3


def test_every_backend_is_in_the_wheel():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = told["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    there = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("backends/*/__init__.py")}
    assert set(packages) == {"tinyllm", *there}


def test_the_protocol_is_met(xp):
    names = [n for n in (*vars(Backend), *Backend.__annotations__) if not n.startswith("_")]
    missing = [name for name in names if not hasattr(xp, name)]
    assert not missing


def test_with_a_gpu_the_suite_runs_on_it_too():
    """Here on a stand-in for CuPy, which comes to the tests as CuPy would."""
    words = ["pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/ops/test_linear.py"]
    for value, there in (("stand-in", True), ("", False)):
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, timeout=60, cwd=ROOT,
            env=os.environ | {"TINYLLM_TEST_CUPY": value, "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        assert ("[cupy]" in done.stdout) == there, done.stdout + done.stderr
        assert "[numpy]" in done.stdout


def test_random_numbers_are_drawn_on_the_host():
    """By NumPy's generators, whatever computes: nothing asks an array library for any."""
    asked = re.compile(
        r"\b(xp|cp|cupy|_XP)\.random|^import random$|\brandint\(|np\.random\.[a-z_]+\("
    )
    for folder in ("tinyllm", "backends"):
        for path in (ROOT / folder).rglob("*.py"):
            found = [x.group() for x in asked.finditer(path.read_text())]
            assert set(found) <= {"np.random.default_rng("}, f"{path}: {found}"


@given(sizes, sizes, sizes, rngs)
def test_index_add_adds_up_repeated_rows(xp, n, N, D, rng):
    ids, values = rng.integers(0, n, N), rng.standard_normal((N, D))
    out = xp.to_numpy(xp.index_add(n, xp.asarray(ids), xp.asarray(values)))
    np.testing.assert_allclose(out, (ids == np.arange(n)[:, None]) @ values, atol=1e-14)


@given(sizes, sizes, sizes, rngs)
def test_add_rows_adds_them_to_what_is_there(xp, n, N, D, rng):
    x, ids, values = rng.standard_normal((n, D)), rng.integers(0, n, N), rng.standard_normal((N, D))
    expected = x + (ids == np.arange(n)[:, None]) @ values
    for layout in (x.copy(), np.asfortranarray(x)):
        out = xp.add_rows(xp.asarray(layout), xp.asarray(ids), xp.asarray(values))
        np.testing.assert_allclose(xp.to_numpy(out), expected, atol=1e-14)


@given(sizes, st.integers(1, 9), rngs)
def test_top_k_takes_the_largest_and_of_equals_the_first(xp, N, D, rng):
    x = rng.integers(0, 4, (N, D)).astype(np.float64)
    expected = [sorted(range(D), key=lambda i: (-row[i], i)) for row in x]
    for k in range(1, D + 1):
        ids = xp.to_numpy(xp.top_k(xp.asarray(x), k))
        assert ids.tolist() == [row[:k] for row in expected]


@given(st.floats(-30, 30))
def test_erf_is_exact_to_the_last_digits(xp, value):
    y = xp.to_numpy(xp.erf(xp.asarray(np.array([value, -value]))))
    assert y[0] == pytest.approx(math.erf(value), rel=1e-15, abs=1e-300)
    assert y[1] == -y[0]


def test_erf_of_the_ends_and_in_float32(xp):
    y = xp.to_numpy(xp.erf(xp.asarray(np.float32([0.0, np.inf, -np.inf, 0.5, np.nan]))))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.float32([0, 1, -1, math.erf(0.5), np.nan]), rtol=1e-7)
