"""tools/bench_training.py times steps that learn."""

import math
import subprocess

from tools import bench_training


def test_both_steps_are_the_same_batch_again_and_again():
    step = bench_training.ours("tiny")
    losses = [step().loss for _ in range(3)]
    assert abs(losses[0] - math.log(64)) < 0.1
    assert losses == sorted(losses, reverse=True)


def test_a_line_for_each_contestant(capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "check_output", lambda words, text: "40 42\n")
    assert bench_training.main(["tiny", "--rounds", "1", "--no-peer"]) == 0
    out = capsys.readouterr().out
    assert "tiny, 4 texts of 16 tokens" in out
    assert "peak 42 MB, 2 MB more than the program" in out


def test_memory_is_what_this_process_had_at_most(capsys):
    assert bench_training.main(["tiny", "--memory", "tinyllm"]) == 0
    before, most = map(int, capsys.readouterr().out.split())
    assert 10 < before <= most
