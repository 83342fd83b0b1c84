"""tinyllm.embeddings.projection and drawing"""

import os
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import rngs
from tinyllm.embeddings.drawing import draw_map
from tinyllm.embeddings.projection import principal_components
from tinyllm.errors import UsageError


@given(st.integers(2, 7), st.integers(1, 5), rngs)
def test_components_are_the_directions_of_most_variance(N, D, rng):
    x = rng.standard_normal((N, D)) + 5
    y, share = principal_components(x, n=min(N, D))
    centred = x - x.mean(axis=0)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    eigenvalues = np.sort(np.linalg.eigvalsh(centred.T @ centred))[::-1][: min(N, D)]
    np.testing.assert_allclose(y.T @ y, np.diag(eigenvalues), atol=1e-10)
    np.testing.assert_allclose(share, eigenvalues / eigenvalues.sum(), atol=1e-12)
    np.testing.assert_allclose(y @ y.T, centred @ centred.T, atol=1e-10)
    largest = y[np.abs(y).argmax(axis=0), np.arange(y.shape[1])]
    assert (largest[eigenvalues > 1e-9] > 0).all()


def test_what_does_not_vary_is_zero():
    y, share = principal_components(np.ones((3, 1), np.float32))
    assert y.shape == (3, 2)
    assert not y.any()
    assert not share.any()
    with pytest.raises(UsageError, match="at least 2"):
        principal_components(np.ones((1, 4)))


@pytest.mark.parametrize(
    ("name", "start"), [("x.svg", b"<?xml"), ("x.png", b"\x89PNG"), ("x.pdf", b"%PDF")]
)
def test_a_map_is_drawn_the_same_every_time(tmp_path, name, start):
    pytest.importorskip("matplotlib")
    words, points = ["$not^math", "b&<"], np.array([[0.0, 1], [1, 0]])
    drawings = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        draw_map(tmp_path / folder / name, words, points, np.array([0.9, 0.1]), "a $title")
        drawings.append((tmp_path / folder / name).read_bytes())
    assert drawings[0] == drawings[1]
    assert drawings[0].startswith(start)
    if name == "x.svg":
        assert b"$not^math" in drawings[0]
        assert b"90% of the variance" in drawings[0]


def test_no_drawing_without_matplotlib_or_of_another_kind(tmp_path, monkeypatch):
    arguments = [], np.zeros((0, 2)), np.zeros(2)
    with pytest.raises(UsageError, match=r"ends with one of .svg, .png"):
        draw_map(tmp_path / "x.jpg", *arguments)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="picture needs matplotlib"):
        draw_map(tmp_path / "x.svg", *arguments)
    assert os.listdir(tmp_path) == []
