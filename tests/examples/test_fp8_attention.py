"""examples/14_fp8_attention.py, in its short form."""

import re
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "14_fp8_attention.py"


def gain(out, title, name):
    table = out.split(title, 1)[1]
    return float(re.search(rf"^    8 bits, {name} .* (\S+)$", table, re.MULTILINE)[1])


def test_the_rotation_helps_where_there_are_outliers_and_only_there(out):
    assert gain(out, "with outliers", "both") > 1.4
    assert gain(out, "with outliers", "rotated") > gain(out, "with outliers", "block scales") > 1.0
    for name in ("block scales", "rotated", "both"):
        assert gain(out, "Gaussian", name) == pytest.approx(1, abs=0.05)


def test_every_claim_has_a_verdict(out):
    assert len(re.findall(r": (not )?reproduced( at this scale)?$", out, re.MULTILINE)) == 5
    assert "more than 1.4: reproduced" in out
    assert "they gain 2.6, as in the paper: not reproduced at this scale" in out
