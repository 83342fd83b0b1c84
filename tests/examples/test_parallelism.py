"""examples/02_parallelism.py, in its short form: times are the machine's, so only the form."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "02_parallelism.py"


def test_models_of_equal_size_are_timed():
    run = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, "--quick"], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
    rows = re.findall(
        r"^(transformer|rnn|gru|lstm) +([\d,]+) +(\d+) +(\d+)", run.stdout, re.MULTILINE
    )
    sizes = {name: int(count.replace(",", "")) for name, count, *_ in rows}
    assert set(sizes) == {"transformer", "rnn", "gru", "lstm"}
    assert max(sizes.values()) < 1.15 * min(sizes.values())
    assert run.stdout.count("cannot be tested at this scale") == 2
