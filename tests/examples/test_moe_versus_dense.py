"""examples/10_moe_versus_dense.py, in its short form."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "10_moe_versus_dense.py"
MODELS = ("dense", "mixture", "mixture, unbalanced", "wide")


@pytest.fixture(scope="module")
def out():
    run = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, "--quick"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stderr.splitlines()) == len(MODELS)  # how far it is, and no warning
    return run.stdout


def row(out, name):
    cells = re.search(rf"^{name} {{2,}}(.*)$", out, re.MULTILINE)[1].split()
    return [float(x.replace(",", "")) for x in cells]


def test_what_is_compared_is_alike(out):
    dense, mixture, unbalanced, wide = (row(out, name) for name in MODELS)
    assert dense[1] == pytest.approx(mixture[1], rel=0.05)  # arithmetic, but for the router
    assert mixture[:2] == unbalanced[:2]
    assert wide[0] == pytest.approx(mixture[0], rel=0.02)  # parameters, but for the router
    assert wide[1] > 2 * dense[1]


def test_all_learn_and_balance_spreads_the_load(out):
    for name in MODELS:
        assert row(out, name)[2] < 2.9  # who guesses among the letters has 3.1
    balanced, unbalanced = row(out, "mixture")[4], row(out, "mixture, unbalanced")[4]
    assert 0.5 < unbalanced < balanced <= 1.0


def test_every_claim_has_a_verdict(out):
    assert len(re.findall(r" -?[0-9.]+: .*, (?:as|not as) expected$", out, re.MULTILINE)) == 7
