"""examples/15_llm_pruner.py, in its short form."""

import re
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "15_llm_pruner.py"


def test_by_the_loss_ranks_agree_with_the_cost_and_by_chance_they_do_not(out):
    rows = re.findall(r"^ *(\w+) +(-?\d\.\d\d) +(\d+\.\d+ ±.*)$", out, re.MULTILINE)
    ranks = {name: float(rank) for name, rank, _ in rows}
    assert list(ranks) == ["element1", "element2", "mix", "vector", "l1", "l2", "random"]
    assert ranks["element1"] > 0.4
    assert ranks["element1"] > ranks["random"] + 0.2
    for name, _, numbers in rows:
        quarter, half, recovered = map(float, re.findall(r"(\d+\.\d+) ±", numbers))
        assert quarter < half
        assert recovered < quarter + 0.005  # where nothing was lost, nothing can be won back
        assert name != "random" or recovered < quarter


def test_it_ends_in_verdicts(out):
    assert len(re.findall(r": (?:not )?reproduced", out)) == 7
    assert out.endswith("cannot be tested at this scale\n")
