"""tools/bench_training.py times steps that learn."""

import math
import subprocess

import pytest

from tinyllm.models.config import param_shapes
from tools import bench_training


@pytest.mark.parametrize("name", ["tiny", "gpt2-tiny"])
def test_steps_are_the_same_batch_again_and_again(name):
    step = bench_training.ours(name)
    losses = [step().loss for _ in range(3)]
    assert abs(losses[0] - math.log(64)) < 0.1
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["tiny", "gpt2-tiny"])
def test_the_peer_trains_a_model_of_the_same_size(name):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model, shapes = bench_training.their_model(name), param_shapes(bench_training.config_of(name))
    assert sum(x.numel() for x in model.parameters()) == sum(map(math.prod, shapes.values()))
    step = bench_training.theirs(name)
    losses = [step() for _ in range(3)]
    assert abs(losses[0] - math.log(64)) < 0.2
    assert losses == sorted(losses, reverse=True)


def test_gpt2_is_the_one_of_124_million():
    shapes = param_shapes(bench_training.config_of("gpt2"))
    assert sum(map(math.prod, shapes.values())) == 124_439_808


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
