"""examples/16_minitron.py, in its short form."""

import re
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "16_minitron.py"


def test_what_was_pruned_is_better_than_what_is_new_and_worse_than_the_whole(out):
    dense = float(re.search(r"dense (\S+) nats", out)[1])
    rows = re.findall(r"^ +half of the (\w+), +([\d,]+) +(\d\.\d+)(.*)$", out, re.MULTILINE)
    assert [name for name, *_ in rows] == ["neurons", "blocks"]
    for _, _, pruned, numbers in rows:
        kl, ce, both, scratch = (float(x) for x in re.findall(r"(\d\.\d+) ±", numbers))
        assert dense < kl < float(pruned)
        assert max(kl, ce, both) < scratch


def test_it_ends_in_verdicts(out):
    assert len(re.findall(r": (?:not )?reproduced", out)) == 7
    assert out.endswith("cannot be tested at this scale\n")
