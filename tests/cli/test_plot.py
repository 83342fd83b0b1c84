"""tinyllm.plot and tinyllm.cli.figure"""

import json
import sys

import pytest

from cli.commands import in_terminal, refused
from tinyllm.cli.figure import sparkline
from tinyllm.plot import main


@pytest.fixture
def run(tmp_path):
    """A run's folder, whose last line is cut."""
    folder = tmp_path / "a $run"
    folder.mkdir()
    rows = [{"step": step, "loss": 5.0 / step} for step in range(1, 31)]
    rows[9] |= {"val_loss": 0.7}
    rows[29] |= {"val_loss": 0.3}
    lines = [json.dumps(row) for row in rows]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 31, "lo')
    return folder


def other(run):
    """A run without validation, by its file."""
    path = run.parent / "other.jsonl"
    path.write_text('{"step": 1, "loss": 3}\n{"step": 2, "loss": 2.5}\n')
    return path


def test_runs_come_into_one_picture(run, capsys):
    pytest.importorskip("matplotlib")
    picture = run.parent / "loss.svg"
    assert main([str(run), str(other(run)), "-o", str(picture), "--log"]) == 0
    assert capsys.readouterr() == ("", "")
    text = picture.read_text()
    for label in ("a $run, training", "a $run, validation", "other.jsonl, training", "step"):
        assert label in text, label
    assert "other.jsonl, validation" not in text
    before = picture.read_bytes()
    assert main([str(run), str(other(run)), "-o", str(picture), "--log"]) == 0
    assert picture.read_bytes() == before, "the same runs give the same bytes"


def test_a_picture_may_be_a_png(run):
    pytest.importorskip("matplotlib")
    picture = run.parent / "loss.png"
    assert main([str(run / "metrics.jsonl"), "-o", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_on_a_terminal_each_run_is_a_line(run):
    code, screen = in_terminal("tinyllm.plot", run, other(run), columns=60)
    assert code == 0
    lines = screen.replace("\r", "").splitlines()
    assert [len(line) for line in lines] == [51, 28]  # of 30 steps, and of two
    assert lines[0].startswith("a $run █")
    assert lines[0].endswith("▁ 5.000 → 0.167")
    assert lines[1] == "other.jsonl █▁ 3.000 → 2.500"


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [([1.0], 5, "▁"), ([2.0, 2.0], 5, "▁▁"), ([4, 4, 1, 1], 2, "█▁"), ([0, 7, 3], 9, "▁█▄")],
)
def test_a_sparkline_is_the_means_of_shares(values, width, bars):
    assert sparkline(values, width) == bars


def test_what_cannot_be_drawn_is_refused(run, capsys, monkeypatch):
    nothing = run.parent / "nothing.jsonl"
    nothing.write_text('{"step": 1}\n')
    picture = ["-o", run.parent / "loss.svg"]
    for words, why in {
        (run,): "there is nothing to draw on: give a file with -o",
        (run, "-o", "loss.txt"): "loss.txt: a picture's name ends with one of .svg, .png, .pdf",
        (run, *picture, "--smooth=1"): "smooth is 1.0, expected at least 0 and below 1",
        (run.parent / "absent", *picture): "absent: no such file",
        (run.parent, *picture): "metrics.jsonl: no such file",
        (nothing, *picture): "nothing.jsonl: has no loss",
        (picture[0],): "expected one argument",
    }.items():
        assert why in refused(main, words, capsys)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = refused(main, [run, *picture], capsys)
    assert said == "a picture needs matplotlib, which is not installed: pip install matplotlib"


def test_a_picture_that_cannot_be_written_is_refused(run, capsys):
    pytest.importorskip("matplotlib")
    said = refused(main, [run, "-o", run / "no" / "loss.svg"], capsys)
    assert "loss.svg: cannot be written: " in said
