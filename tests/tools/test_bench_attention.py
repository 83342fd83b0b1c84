"""tools/bench_attention.py times attention, and says how its memory grows."""

import re

from tools import bench_attention


def test_a_line_for_each_length_and_how_memory_grows(capsys, monkeypatch):
    monkeypatch.setattr(bench_attention, "theirs", lambda *arrays: None)
    words = ["--lengths", "1024", "2048", "--heads", "1", "--head-dim", "4", "--rounds", "1"]
    bench_attention.main(words)
    out = capsys.readouterr().out
    assert re.findall(r"^ +(\d+)  .* ms .* ms .* MB$", out, re.MULTILINE) == ["1024", "2048"]
    assert float(out.rpartition("N^")[2]) < 1.2


def test_all_take_turns(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    calls = []
    pairs = [
        (lambda name=name: calls.append(name) or name, lambda saved: calls.append(saved.lower()))
        for name in "AB"
    ]
    found = bench_attention.race(pairs, rounds=2)
    assert "".join(calls) == "AaBbAaBb"
    assert all(0 <= seconds < 1 for pair in found for seconds in pair)
