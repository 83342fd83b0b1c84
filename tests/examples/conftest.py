"""What an example prints in its short form, which every module here tests."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def out(request):
    """Run the module's EXAMPLE, where a warning is an error; return what it prints."""
    run = subprocess.run(
        [sys.executable, "-W", "error", request.module.EXAMPLE, "--quick"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout
