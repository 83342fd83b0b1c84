"""tools/gpu_report.py on the stand-in for CuPy: that all is run, kept and judged; no times."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import tinyllm_numpy
from emulator.attention import HOPPERS
from emulator.module import COMPILER
from tinyllm_cuda.decode import Step
from tools import gpu_report
from tools.gpu import correctness, decoding, proof
from tools.gpu.attention import rates
from tools.gpu.dry import DryMachine
from tools.gpu.machine import Machine
from tools.gpu.results import Results

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")


def report(folder, *words):
    code = gpu_report.main(["--dry-run", "--out", str(folder), *words])
    (path,) = folder.glob("*.json")
    return code, json.loads(path.read_text()), path.with_suffix(".md").read_text()


def test_every_section_runs_and_is_kept(tmp_path, capsys):
    code, found, table = report(tmp_path, "--no-peers")
    assert code == 0
    assert capsys.readouterr().err == ""
    assert list(found["sections"]) == list(gpu_report.SECTIONS)
    assert {section["status"] for section in found["sections"].values()} == {"done"}
    assert found["facts"]["dry run"] is True
    assert found["facts"]["peers"].startswith("none")
    assert set(found["ceilings"]) == {"bytes/s", "bfloat16 FLOP/s", "float32 FLOP/s"}
    rows = found["sections"]["correctness"]["rows"]
    assert all(row["right"] and row.get("same bits", True) for row in rows if "note" not in row)
    assert any(row["dtype"] == "float32" and row["kernel"] == "attention" for row in rows)
    assert [row["compiled"] for row in rows if row["kernel"] == "decoding"] == [True, True]
    for name in ("llama 1B", "llama 8B"):
        whats = [row["what"] for row in found["sections"][name]["rows"]]
        assert whats == ["decode, ours", "decode, ours, with making the graphs", "prefill 20"]
    (row,) = found["sections"]["decode attention"]["rows"]
    assert row["what"] == "decode_attention.cu"
    assert row["right"]
    assert "## attention\n\ndone.\n\n| " in table


def test_a_kernel_that_is_wrong_or_differs_is_found(tmp_path, capsys, monkeypatch):
    forward, noise = correctness.flash_forward, iter(np.linspace(1, 2, 99))

    def wrong(*arguments):
        o, lse = forward(*arguments)
        return o * np.float32(next(noise)), lse

    monkeypatch.setattr(correctness, "flash_forward", wrong)
    code, found, _ = report(tmp_path, "--no-peers", "--sections", "correctness")
    rows = [r for r in found["sections"]["correctness"]["rows"] if "same bits" in r]
    assert code == 1
    assert not any(row["right"] or row["same bits"] for row in rows if row["kernel"] != "index_add")
    assert capsys.readouterr().err.count("wrong: correctness: kernel attention") >= 2


def test_a_graph_that_gives_old_scores_is_found(monkeypatch):
    logits, calls = Step.logits, []

    def stale(step, token, position):
        calls.append(logits(step, token, position))
        return calls[max(0, len(calls) - 2)]

    monkeypatch.setattr(Step, "logits", stale)
    (row, _) = decoding.decoding(DryMachine())
    assert not row["right"]
    assert row["error"] > 0.01


def test_a_sampler_that_draws_another_token_is_found(monkeypatch):
    draw = Step.draw
    monkeypatch.setattr(Step, "draw", lambda *a: [token ^ 1 for token in draw(*a)])
    (row, _) = decoding.decoding(DryMachine())
    assert row["compiled"]
    assert row["error"] < 1e-4
    assert not row["same tokens"]
    assert not row["right"]


class Hopper:
    """NumPy, and an emulated Hopper for the kernels."""

    dry, cp = True, np
    random = Machine.random

    def __init__(self):
        self.xp = self

    def device(self):
        return HOPPERS["forward"]

    def __getattr__(self, name):
        return getattr(tinyllm_numpy, name)


def test_on_hopper_both_tiers_and_8_bits_are_tried(monkeypatch):
    rows = [*correctness._attention(Hopper(), 33, 40, 0), *correctness._eight_bits(Hopper(), 64)]
    assert all(row["right"] for row in rows)
    assert [row["tier"] for row in rows] == ["f32"] * 2 + ["mma", "mma", "wgmma", "wgmma"] * 2 + [
        "fp8"
    ]
    forward = correctness.flash_forward_fp8
    monkeypatch.setattr(
        correctness, "flash_forward_fp8", lambda *a: (forward(*a)[0] * np.float16(1.1), None)
    )
    (row,) = correctness._eight_bits(Hopper(), 64)
    assert not row["right"]


def test_what_is_not_written_is_an_infinite_error():
    x = np.ones((2, 2), np.float32)
    ratio = correctness._ratio(np.full((2, 2), np.nan), x, x, np.dtype(np.float32))
    assert ratio == np.inf


def test_a_section_that_breaks_leaves_the_others_and_what_it_had(tmp_path, capsys, monkeypatch):
    def breaks(machine, results):
        yield {"what": "a", "x": float("nan")}
        raise RuntimeError("no such\nkernel")

    def goes_on(machine, results):
        yield {"what": "b"}

    monkeypatch.setattr(gpu_report, "SECTIONS", {"one": (breaks, 5, 9), "two": (goes_on, 5, 9)})
    code, found, table = report(tmp_path, "--no-peers", "--sections", "one", "two")
    assert code == 1
    assert found["sections"]["one"]["status"] == "in part: RuntimeError: no such kernel"
    assert found["sections"]["one"]["rows"] == [{"what": "a", "x": None}]
    assert found["sections"]["two"]["status"] == "done"
    assert "in part: RuntimeError: no such kernel." in table
    assert "wrong: one: in part" in capsys.readouterr().err


def test_when_the_time_is_up_it_says_what_is_left_out(tmp_path):
    results = Results(tmp_path, {"device": "A B"}, seconds=0.2, say=lambda line: None)

    def slow(results):
        yield {"what": 1}
        results._end = 0.0
        yield {"what": 2}
        yield {"what": 3}

    def long(results):
        yield {"what": 1}
        yield {"what": 2}

    results.run("long", long, 0, -1.0)
    results.run("slow", slow, 0, 9)
    results.run("late", slow, 5, 9)
    found = json.loads(results.path.read_text())["sections"]
    assert found["long"] == found["long"] | {
        "status": "in part: the time was up", "rows": [{"what": 1}]
    }  # fmt: skip
    assert found["slow"]["status"] == "in part: the time was up"
    assert len(found["slow"]["rows"]) == 2
    assert found["late"]["status"] == "left out: 5 s are more than was left"
    assert results.failed == []
    assert results.path.name.endswith("-A-B.json")


HANGS = """
import sys, time
from pathlib import Path
from tools.gpu import results
results.PATIENCE = -0.5
kept = results.Results(Path(sys.argv[1]), {"device": "A"}, seconds=99, say=print)
def section(kept):
    yield {"what": 1}
    time.sleep(60)
kept.run("hangs", section, 0, 1)
"""


def test_a_section_that_hangs_ends_the_process_and_says_where(tmp_path):
    path = [str(gpu_report.ROOT), str(gpu_report.ROOT / "backends")]
    done = subprocess.run(
        [sys.executable, "-c", HANGS, tmp_path], capture_output=True, text=True, timeout=50,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "in section" in done.stderr
    (found,) = tmp_path.glob("*.json")
    section = json.loads(found.read_text())["sections"]["hangs"]
    assert section == {"status": "running", "rows": [{"what": 1}]}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise SystemExit(1)", "done"),
        ("raise SystemExit(3)", "ended with 3; without"),
        ("import time; time.sleep(60)", "hung for 2 s; without"),
        (
            "import pathlib, sys; folder = pathlib.Path(sys.argv[-1]); folder.mkdir()\n"
            "(folder / 'a.json').write_text('in part: CUDARuntimeError: fault')",
            "met a CUDARuntimeError; without",
        ),
    ],
)
def test_kernels_are_proven_in_a_process_that_may_die(script, said, tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "SECONDS", 1)
    monkeypatch.setattr(proof, "MORE", 1)
    monkeypatch.setenv("TINYLLM_WGMMA", "1")
    (tmp_path / "script.py").write_text(script)
    assert proof.prove(tmp_path / "script.py", tmp_path).startswith(said)
    assert os.environ["TINYLLM_WGMMA"] == ("1" if said == "done" else "0")


def test_without_a_gpu_it_ends_with_3(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinyllm_cupy", None)
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "tinyllm_cupy")
    assert gpu_report.main([]) == 3
    assert "the cupy backend needs CuPy" in capsys.readouterr().err


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_peers_stand_beside(tmp_path):
    pytest.importorskip("transformers")
    code, found, _ = report(tmp_path)
    assert code == 0
    rows = {name: section["rows"] for name, section in found["sections"].items()}
    (forward, backward) = rows["attention"][-2:]
    for row in (forward, backward):
        assert row["ours / torch: flash"] > 0 or "torch: flash" in row["failed"]
    assert rows["llama 1B"][0]["right"]
    assert rows["llama 1B"][0]["off"] < 0.05
    assert any(row["what"] == "decode, transformers" for row in rows["llama 1B"])
    assert rows["decode attention"][0]["ours / torch"] > 0
    assert rows["decode attention"][0]["right"]
    assert [row["who"] for row in rows["training"]] == ["ours", "PyTorch, eager"]


class Clock:
    """CUDA's events and graphs, of a GPU on which a call takes a millisecond."""

    def __init__(self, captures):
        self.captures, self.now, self.launched = captures, 0.0, 0
        self.runtime = SimpleNamespace(deviceSynchronize=lambda: None)

    def Stream(self, non_blocking):
        return Stream(self)

    def Event(self):
        event = SimpleNamespace(synchronize=lambda: None)
        event.record = lambda: setattr(event, "at", self.now)
        return event

    def get_elapsed_time(self, first, last):
        return last.at - first.at

    def get_current_stream(self):
        return None


class Stream:
    def __init__(self, clock):
        self.clock, self.capturing = clock, False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def synchronize(self):
        pass

    def begin_capture(self):
        if not self.clock.captures:
            raise NotImplementedError("cuBLAS")
        self.before = self.clock.now

    def end_capture(self):
        taken, self.clock.now = self.clock.now - self.before, self.before

        def launch(stream):
            self.clock.launched += 1
            self.clock.now += taken

        return SimpleNamespace(launch=launch)


@pytest.mark.parametrize("captures", [True, False])
def test_a_call_is_timed_by_events_in_a_graph_where_it_can_be_captured(captures, monkeypatch):
    monkeypatch.setattr("tools.gpu.machine.SECONDS", 1e-5)
    clock, machine = Clock(captures), Machine.__new__(Machine)
    machine.cp = SimpleNamespace(cuda=clock)

    def call():
        clock.now += 1.0

    def fail():
        raise RuntimeError("no kernel")

    found = machine.race({"ours": call, "torch: flash": call, "torch: cudnn": fail})
    for who in ("ours", "torch: flash"):
        assert found[who]["seconds"] == pytest.approx(1e-3)
        assert found[who]["spread"] == pytest.approx(0)
    assert found["torch: cudnn"] == {"failed": "RuntimeError: no kernel"}
    assert (clock.launched > 0) == captures


def test_rates_stand_beside_peers_and_the_ceiling():
    found = {
        "ours": {"seconds": 2.0, "spread": 0.1}, "torch: flash": {"seconds": 1.0, "spread": 0.1},
        "torch: cudnn": {"failed": "x"},
    }  # fmt: skip
    row = rates(found, 8e12, 16e12)
    assert (row["TFLOP/s"], row["torch: flash TFLOP/s"]) == (4, 8)
    assert (row["ours / torch: flash"], row["of the ceiling"]) == (0.5, 0.25)
    assert row["failed"] == "torch: cudnn: x"


def test_the_dry_machine_says_that_it_is_dry():
    assert DryMachine().dry
