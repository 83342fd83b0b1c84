"""examples/02b_translation.py, in its short form: too few steps to translate, so only the form."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "02b_translation.py"


def test_it_learns_and_translates():
    run = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, "--quick"], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
    losses = [float(x) for x in re.findall(r"step +\d+: loss ([\d.]+)", run.stdout)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 3.0
    assert len(re.findall(r" -> ", run.stdout)) == 6
    assert "cannot be tested at this scale" in run.stdout
