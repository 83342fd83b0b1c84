"""examples/04_attention_memory.py, in its short form."""

import re
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "04_attention_memory.py"


def test_memory_grows_with_the_text_in_tiles_and_with_its_square_by_the_formula(out):
    formula, tiles = (float(x) for x in re.findall(r"memory grows like N\^(\S+),", out))
    assert formula == pytest.approx(2, abs=0.1)
    assert tiles == pytest.approx(1, abs=0.1)
    whole, tiled = re.search(r"^ +2048 +(\S+) +(\S+) ", out, re.MULTILINE).groups()
    assert float(whole) > 10 * float(tiled)


def test_every_claim_is_reproduced(out):
    assert len(re.findall(r": reproduced$", out, re.MULTILINE)) == 3
