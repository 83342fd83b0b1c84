"""tools.stories.half, on few steps and a text that is made up."""

import re
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT


@pytest.mark.slow
def test_a_student_wins_back_what_was_lost_and_more_than_a_new_model(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("train", 300), ("validation", 5)):
        names, things = (
            rng.choice(words, count)
            for words in (["Lily", "Tom", "Sue", "Ben"], ["dog", "ball", "tree", "boat"])
        )
        stories = [
            f"Once upon a time, there was a child named {n}. {n} had a big {t}. {n} loved the {t} "
            f"and played with the {t} every day.\n<|endoftext|>\n"
            for n, t in zip(names, things)
        ]
        (tmp_path / f"{name}.txt").write_text("".join(stories))
    words = ["-m", "tools.stories.half", tmp_path, tmp_path / "work", "--scale", "0.02"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    whole, pruned = map(float, re.search(r"ships: (\S+) nats; pruned: (\S+)", done.stdout).groups())
    found = re.findall(
        r"^(.*): \d+ steps, .* CPU: (\S+) nats, (\S+)% of", done.stdout, re.MULTILINE
    )
    assert [name for name, *_ in found] == [
        "distilled", "from scratch", "from scratch, more steps"
    ]  # fmt: skip
    taught, new, _ = (float(nats) for _, nats, _ in found)
    assert whole < pruned
    assert taught < min(pruned, new)
    assert float(found[0][2]) == pytest.approx(100 * (pruned - taught) / (pruned - whole), abs=0.1)
