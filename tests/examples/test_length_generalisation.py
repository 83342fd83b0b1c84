"""examples/03_length_generalisation.py, in its short form."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "03_length_generalisation.py"


@pytest.fixture(scope="module")
def out():
    run = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, "--quick"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stderr.splitlines()) == 5  # how far it is, and no warning
    return run.stdout


def row(out, name):
    return re.search(rf"^{name} +(.*)$", out, re.MULTILINE)[1].split()


def test_alibi_goes_on_and_others_do_not(out):
    alibi, rope, sinusoidal = (
        [float(x) for x in row(out, name)] for name in ("ALiBi", "RoPE", "sinusoidal")
    )
    assert max(alibi) - min(alibi) < 0.1
    assert rope[3] > rope[0] + 0.25
    assert sinusoidal[3] > alibi[3]
    assert row(out, "learned")[1:] == ["refused"] * 3


def test_nothing_changes_at_the_trained_length(out):
    first = {row(out, name)[0] for name in ("RoPE", "RoPE, interpolated", "RoPE, Llama 3's rule")}
    assert len(first) == 1


def test_every_claim_has_a_verdict(out):
    assert "ALiBi is as good at any length: reproduced, as expected" in out
    assert "RoPE is as good at any length: not reproduced at this scale, as expected" in out
    assert len(re.findall(r"reproduced.*expected$", out, re.MULTILINE)) == 6
