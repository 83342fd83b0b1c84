"""Launches as one graph: what is asked of CuPy, in which order, by a CuPy that only takes notes."""

from types import SimpleNamespace

import numpy as np
import pytest

from emulator.backend import device
from tinyllm_cuda.replay import Replay


def noting(said):
    """A stand-in for cupy.cuda."""

    class Stream:
        def __init__(self, non_blocking):
            assert non_blocking  # the default stream cannot be captured

        def __enter__(self):
            said.append("enter")

        def __exit__(self, *error):
            said.append("leave")

        def begin_capture(self):
            said.append("begin")

        def end_capture(self):
            said.append("end")
            return SimpleNamespace(launch=lambda: said.append("launch"))

    return SimpleNamespace(cuda=SimpleNamespace(Stream=Stream), ndarray=np.ndarray)


def test_the_first_call_launches_the_second_captures_and_the_others_replay():
    said = []
    replay = Replay(device(xp=noting(said)), lambda: said.append("run"))
    replay()
    assert said == ["run"]
    replay()
    assert said == ["run", "enter", "begin", "run", "end", "leave", "launch"]
    replay()
    replay()
    assert said[7:] == ["launch", "launch"]


def test_a_capture_ends_where_a_launch_fails():
    said = []

    def run():
        said.append("run")
        if said.count("run") > 1:
            raise ValueError("no")

    replay = Replay(device(xp=noting(said)), run)
    replay()
    with pytest.raises(ValueError, match="no"):
        replay()
    assert said[-2:] == ["end", "leave"]


def test_without_graphs_every_call_launches():
    said = []
    replay = Replay(device(), lambda: said.append("run"))
    for _ in range(3):
        replay()
    assert said == ["run"] * 3
