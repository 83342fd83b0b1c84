"""tinyllm.distill: a student's run, as a run of training is, and its teacher's before it."""

import json
import shutil
import signal

import numpy as np
import pytest

import tinyllm
import tinyllm_numpy
from cli.commands import refused, start
from cli.test_train import files, rows
from tiny import random_params, tiny_config
from tiny_vocabulary import NORMAL, PIECES, llama2c_bytes
from tinyllm.checkpoints import read_config, read_weights, write_checkpoint, write_tensors
from tinyllm.compression.distillation import MAP
from tinyllm.distill import main
from tinyllm.models.config_json import write_config_json
from tinyllm.prune import main as prune
from tinyllm.training.snapshot import snapshots

QUICK = [
    "--steps=4", "--batch-size=2", "--seq-len=8", "--eval-every=2", "--save-every=2",
    "--eval-windows=4", "--lr=0.01",
]  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("the ab er in bins a the in er the " * 20)
    return path


@pytest.fixture(scope="module")
def student(model, text, tmp_path_factory):
    out = tmp_path_factory.mktemp("student") / "student"
    words = ["--method=minitron", "--ffn=4", "--width=12", "--samples=4", "--seqlen=20", "-q"]
    words += ["--eval-tokens=0", "--calib", str(text)]
    assert prune(["-m", str(model), *words, "--out", str(out)]) == 0
    return out


@pytest.fixture
def words(model, student, text):
    return ["--teacher", model, "--student", student, "--data", text, *QUICK]


def distill(words, out, *more):
    return main([*map(str, words), "--out", str(out), *more])


def test_a_student_comes_nearer_to_its_teacher(words, student, tmp_path, capsys):
    out = tmp_path / "out"
    assert distill(words, out, "--steps=20", "--lr=0.03") == 0
    said, err = capsys.readouterr()
    assert said == ""
    assert " parameters · " in err.splitlines()[0]
    found = rows(out)
    assert found[-1]["loss"] < 0.7 * found[0]["loss"]
    assert all(row["terms"] == {"kl": row["loss"]} for row in found)
    now = tinyllm.load(out)
    assert now.config == tinyllm.load(student).config
    assert now.encode_prompt("the in") == tinyllm.load(student).encode_prompt("the in")


def test_more_memory_than_there_is_is_refused_but_by_force(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tinyllm.model.check_memory", lambda *given: None)  # both are there
    monkeypatch.setattr(tinyllm_numpy, "free_memory", lambda: 1000)
    line = refused(main, [*words, "--out", tmp_path / "out", "-q"], capsys)
    assert "training takes about " in line
    assert distill(words, tmp_path / "out", "--steps=1", "--force", "-q") == 0


def test_what_ends_a_text_is_the_students(words, student, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(student, mine)
    (mine / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    words = [*words, "--student", mine, "--teacher-correction=1", "--steps=1", "-q"]
    assert distill(words, tmp_path / "out") == 0
    assert tinyllm.load(tmp_path / "out").eos_ids == {2, 7}
    assert tinyllm.load(tmp_path / "out" / "teacher").eos_ids == {2}


LOSSES = {
    "kl+ce": ({"kl", "ce"}, []),
    "rkl": ({"rkl"}, ["--tau=2", "--tau-squared"]),
    "mse": ({"mse"}, []),
    "kl+ce+hidden": ({"kl", "ce", "hidden"}, ["--ce-weight=0.5"]),
    "hidden": ({"hidden"}, ["--pairs=0:0,1:1,2:2"]),
    "kl+hidden": ({"kl", "hidden"}, ["--alpha=0.1"]),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_told_in_its_terms(words, tmp_path, loss):
    terms, more = LOSSES[loss]
    assert distill(words, tmp_path / "out", "--loss", loss, *more, "--steps=1", "-q") == 0
    (row,) = rows(tmp_path / "out")
    assert set(row["terms"]) == terms
    assert MAP not in tinyllm.load(tmp_path / "out").params


def test_a_run_in_two_sittings_is_the_whole_run(words, student, tmp_path, capsys, monkeypatch):
    more = ["--loss=kl+hidden", "--dropout=0.1", "--average=ema"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert distill(words, whole, *more) == 0
    monkeypatch.chdir(student.parent)
    words = [*words, "--student", student.name]  # which the second sitting finds from elsewhere
    assert distill(words, parts, *more, "--until=3") == 0
    assert f"go on with: python -m tinyllm.distill --resume {parts}" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["--resume", "parts"]) == 0
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    a, b = (snapshots(f / "checkpoints")[0].read_bytes() for f in (whole, parts))
    assert a == b


def test_a_teacher_is_corrected_first_and_that_goes_on_too(words, model, tmp_path, capsys):
    more = ["--teacher-correction=4", "--schedule=constant"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert distill(words, whole, *more) == 0
    said = capsys.readouterr().err
    assert said.index("the teacher first: 4 steps") < said.index("and now the student")
    corrected = tinyllm.load(whole / "teacher")
    assert corrected.config == tinyllm.load(model).config
    assert {row["lr"] for row in rows(whole / "teacher")} == {0.01 * 0.2}
    words = [*words, "--out", parts, *more, "--save-every=1", "--eval-every=1"]
    process = start("tinyllm.distill", *words)
    while b"step 2/" not in (line := process.stderr.readline()):
        assert line, "the run ended"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: python -m tinyllm.distill --resume {parts}".encode() in err
    assert main(["--resume", str(parts), "--save-every=2", "--eval-every=2"]) == 0
    for name in ("model.safetensors", "teacher/model.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_another_teacher_does_not_go_on_with_the_first_ones_correction(
    words, model, tmp_path, capsys
):
    out, other = tmp_path / "out", tmp_path / "other"
    shutil.copytree(model, other)
    changed(other)
    assert distill(words, out, "--teacher-correction=2", "-q") == 0
    shutil.rmtree(out / "checkpoints")  # as a run is that was stopped before the student's first
    line = refused(
        main, [*words, "--teacher", other, "--teacher-correction=2", "--out", out, "-q"], capsys
    )
    assert "was written with teacher " in line


def test_what_the_teachers_correction_reads_is_no_flag_too_many(words, tmp_path):
    words = [*words, "--label-smoothing=0.1", "--steps=1", "-q"]
    assert distill(words, tmp_path / "out", "--teacher-correction=1") == 0


def changed(folder):
    """Change a weight of a model."""
    weights = {name: np.array(x) for name, x in read_weights(folder).items()}
    weights["model.norm.weight"] += 1
    write_tensors(folder / "model.safetensors", weights)


def test_only_some_of_a_student_is_trained(words, student, tmp_path):
    assert distill(words, tmp_path / "out", "--only=mlp", "-q") == 0
    before, after = tinyllm.load(student).params, tinyllm.load(tmp_path / "out").params
    changed = {name for name, x in after.items() if (x != before[name]).any()}
    assert changed == {name for name in before if ".mlp." in name}


def test_linear_maps_learn_what_their_blocks_gave(model, text, tmp_path):
    linear = tmp_path / "linear"
    words = ["--method=linearity", "--remove=1", "--replace=at-once", "--calib", str(text), "-q"]
    words += ["--samples=20", "--seqlen=20", "--eval-tokens=0"]
    assert prune(["-m", str(model), *words, "--out", str(linear)]) == 0
    out, words = tmp_path / "out", ["--teacher", model, "--student", linear, "--data", text]
    more = ["--loss=streams", "--only=linear", "--steps=30", "--lr=0.003", "--overfit-one-batch"]
    assert distill([*words, *QUICK], out, *more, "-q") == 0
    assert rows(out)[-1]["loss"] < rows(out)[0]["loss"]
    before, after = tinyllm.load(linear).params, tinyllm.load(out).params
    changed = {name for name, x in after.items() if (x != before[name]).any()}
    assert {name.split(".", 3)[-1] for name in changed} == {"linear.weight", "linear.bias"}
    assert read_config(out)["model_type"] == "tinyllm"


BAD = {
    "--loss=kl+rkl": "take one of kl, mse, rkl",
    "--loss=hidden+streams": "take one of hidden, streams",
    "--loss=kld": "--loss is 'kld', expected kl, rkl, mse, ce, hidden, streams",
    "--loss=kl+kl": "expected kl, rkl",
    "--loss=ce": "see tinyllm.train",
    "--loss=streams": "the residual streams of student and teacher are not equally wide",
    "--loss=hidden --pairs=3:0": "states 3:0 are not there: the student has 0 to 2",
    "--loss=hidden --pairs=a": "--pairs is 'a', expected S:T",
    "--pairs=0:0": "--pairs is not read without --loss hidden or streams",
    "--alpha=1": "--alpha is not read without --loss hidden or streams",
    "--loss=mse --tau-squared": "--tau-squared is not read without --loss kl or rkl",
    "--loss=mse --tau=2": "--tau is not read without --loss kl or rkl",
    "--ce-weight=2": "--ce-weight is not read without --loss ce",
    "--label-smoothing=0.1": "--label-smoothing is not read without --loss ce or --teacher-corr",
    "--z-loss=0.1": "--z-loss is not read without --loss ce or --teacher-correction",
    "--loss=hidden --alpha=-1": "alpha is -1.0, expected 0 or more",
    "--tau=0": "temperature is 0, expected more",
    "--tau=-1": "temperature is -1.0",
    "--tau=nan": "'nan' is not a finite number",
    "--ce-weight=-1 --loss=kl+ce": "ce is -1.0",
    "--only=nothing": "no parameter of the student has nothing in its name",
    "--teacher-correction=-1": "--teacher-correction is -1, expected at least 0",
    "--steps=0": "steps is 0",
    "--seq-len=200": "seq_len is 200, and the model's longest text 100",
    "--teacher=nowhere": "nowhere",
    "--val-fraction=1": "val_fraction is 1.0",
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_one_line_and_leaves_nothing(words, tmp_path, capsys, case):
    out = tmp_path / "out"
    assert BAD[case] in refused(main, [*words, "--out", out, *case.split()], capsys)
    left = list(out.iterdir()) if out.exists() else []
    assert all(path.name.startswith("tokens-") for path in left)


def test_models_that_do_not_fit_are_refused(words, model, student, text, tmp_path, capsys):
    out = tmp_path / "out"
    line = refused(main, [*words, "--student", model, "--out", out], capsys)
    assert line == "teacher and student are one model: there is nothing that it could learn"
    other = tmp_path / "other"
    shutil.copytree(student, other)
    (other / "tokenizer.bin").unlink(missing_ok=True)
    config = read_config(student)
    trained = ["--data", str(text), "--vocab", "262", "--steps=1", "--batch-size=1", "--seq-len=8"]
    from tinyllm.train import main as train

    assert train([*trained, "--d-model=8", "--heads=2", "--out", str(tmp_path / "more"), "-q"]) == 0
    line = refused(main, [*words, "--student", tmp_path / "more", "--out", out], capsys)
    assert "distillation needs one vocabulary" in line
    assert config["vocab_size"] == tinyllm.load(model).config.vocab_size
    for flags in (["--teacher", model], ["--student", student]):
        name = "student" if flags[0] == "--teacher" else "teacher"
        line = refused(main, [*flags, "--data", text, "--out", out], capsys)
        assert line == f"there is no {name}: name a model with --{name}"
    assert not out.exists()


@pytest.fixture
def padded(tmp_path):
    """A folder of a model with more rows than its tokenizer has tokens."""

    def make(seed, pieces=PIECES):
        config = tiny_config(vocab_size=len(PIECES) + 5, max_seq_len=100, n_layers=1)
        params = random_params(config, seed, dtype=np.float32)
        folder = tmp_path / f"padded-{seed}"
        write_checkpoint(folder, write_config_json(config, "float32"), params)
        (folder / "tokenizer.bin").write_bytes(llama2c_bytes(pieces))
        return folder

    return make


def test_rows_that_are_no_token_of_either_are_no_hindrance(padded, text, tmp_path, capsys):
    words = ["--teacher", padded(1), "--student", padded(2), "--data", text, *QUICK, "-q"]
    assert distill(words, tmp_path / "out", "--steps=1") == 0
    other = padded(3, [*PIECES[:-1], ("z", -99.0, NORMAL)])
    line = refused(main, [*words, "--student", other, "--out", tmp_path / "no"], capsys)
    assert "distillation needs one vocabulary" in line


@pytest.mark.parametrize("loss", ["hidden", "streams"])
def test_a_model_without_such_states_is_refused(text, tmp_path, capsys, loss):
    from tinyllm.train import main as train

    for seed in "12":
        words = ["--data", str(text), "--arch=lstm", "--d-model=8", "--layers=1", *QUICK]
        assert train([*words, "--seed", seed, "--out", str(tmp_path / seed), "-q"]) == 0
    words = ["--teacher", tmp_path / "1", "--student", tmp_path / "2", "--data", text, *QUICK]
    line = refused(main, [*words, "--loss", loss, "--out", tmp_path / "out", "-q"], capsys)
    assert line == "hidden states are those of blocks, and the student is recurrent: it has none"
    assert distill(words, tmp_path / "out", "--steps=1", "-q") == 0


def test_no_model_is_overwritten(words, student, tmp_path, capsys):
    mine = tmp_path / "mine"
    shutil.copytree(student, mine)
    before = files(mine)
    line = refused(main, [*words, "--student", mine, "--out", mine], capsys)
    assert "has config.json, which is of no run and would be replaced; give another --out" in line
    assert files(mine) == before
    out = tmp_path / "out"
    assert distill(words, out, "-q") == 0
    before = files(out)
    assert "has a run already" in refused(main, [*words, "--out", out], capsys)
    assert files(out) == before


def test_a_run_goes_on_as_it_began(words, model, student, tmp_path, capsys):
    out = tmp_path / "out"
    teacher = tmp_path / "teacher"
    shutil.copytree(model, teacher)
    assert distill([*words, "--teacher", teacher], out, "--until=2", "-q") == 0
    before = files(out)
    line = refused(main, ["--resume", out, "--tau=2", "-q"], capsys)
    assert "was written with distillation" in line
    other = tmp_path / "other"
    shutil.copytree(student, other)
    line = refused(main, ["--resume", out, "--student", other, "-q"], capsys)
    assert f"and now it is with --student {other}: leave it out" in line
    changed(teacher)
    assert "was written with teacher " in refused(main, ["--resume", out, "-q"], capsys)
    assert files(out) == before
    assert "has no run.json" in refused(main, ["--resume", tmp_path / "none"], capsys)


def test_json_says_what_came_out(words, tmp_path, capsys):
    assert distill(words, tmp_path / "out", "--json", "-q") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["step"], said["tokens"]) == (4, 64)
    assert said["loss"] == rows(tmp_path / "out")[-1]["loss"]
