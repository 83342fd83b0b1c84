"""examples/05_wanda.py, in its short form."""

import re
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "05_wanda.py"


def test_the_more_goes_the_worse_and_what_is_made_up_for_is_best(out):
    dense = float(re.search(r"dense (\S+)$", out, re.MULTILINE)[1])
    rows = re.findall(r"^ *(\S+(?: %)?)((?: +\d+\.\d\d){5})$", out, re.MULTILINE)
    table = {case: [float(x) for x in row.split()] for case, row in rows}
    assert list(table) == ["30 %", "50 %", "60 %", "2:4", "4:8"]
    for few, more in (("30 %", "50 %"), ("50 %", "60 %"), ("4:8", "2:4")):
        assert all(a <= b for a, b in zip(table[few], table[more]))
    for row in table.values():
        assert dense - 0.01 <= row[4] <= min(row)


def test_it_ends_in_verdicts(out):
    assert re.search(r"it is in \d of 5: (not )?reproduced", out)
    assert out.endswith("cannot be tested at this scale\n")
