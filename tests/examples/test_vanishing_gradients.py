"""examples/01_vanishing_gradients.py, in its short form."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "01_vanishing_gradients.py"


def test_gradients_vanish_explode_or_are_held():
    run = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, "--quick"], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
    flow = {
        name: float(ratio)
        for name, ratio in re.findall(
            r"^  ((?:tanh|LSTM), .*?) +(\S+)  \(", run.stdout, re.MULTILINE
        )
    }
    assert flow["tanh, gain 0.9"] < flow["tanh, gain 1.0"] < 1 < flow["tanh, gain 1.5"]
    assert flow["LSTM, forget bias +0"] < flow["tanh, gain 0.9"]
    assert flow["LSTM, forget bias +4"] > 1
    verdicts = re.findall(r"^(.*): (.*)$", run.stdout, re.MULTILINE)
    assert ("an LSTM mitigates vanishing", "not reproduced at this scale, as expected") in verdicts
    assert sum("reproduced" in verdict for _, verdict in verdicts) == 4
    assert sum("cannot be tested" in verdict for _, verdict in verdicts) == 2
