"""examples/17_word_vectors.py, in its short form."""

import re
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "17_word_vectors.py"


def test_the_optimum_is_shifted_mutual_information(out):
    errors = [float(x) for x in re.findall(r"expected 0, found (\S+)", out)]
    assert len(errors) == 2
    assert max(errors) < 1e-6


def test_neighbours_are_of_a_kind_and_the_methods_agree(out):
    assert int(re.search(r"nearly all, found (\d+)%", out)[1]) > 90
    assert float(re.search(r"well above 0, found (\S+)", out)[1]) > 0.5
    assert out.endswith("\nreproduced\n")
