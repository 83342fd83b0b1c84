"""examples/08_linear_layers.py, in its short form."""

import re
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "08_linear_layers.py"


def test_a_linear_map_is_better_than_none_in_every_place(out):
    blocks = re.findall(r"^ +\d +\d\.\d{3} +\d\.\d{3} +\d\.\d{3} +(\S+) +(\S+)$", out, re.MULTILINE)
    assert len(blocks) == 4
    assert all(float(linear) < float(removed) for removed, linear in blocks)


def test_it_ends_in_verdicts(out):
    assert "a linear map in a block's place is better than none: reproduced" in out
    assert "a mean score of 0.99: not reproduced at this scale" in out
    assert "distilled maps are better still: reproduced" in out
    assert len(re.findall(r"^expected: ", out, re.MULTILINE)) == 5
