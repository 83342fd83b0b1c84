"""tinyllm.train in this process, and stopped from outside in its own."""

import json
import re
import shutil
import signal

import numpy as np
import pytest

import tinyllm
import tinyllm_numpy
from cli.commands import in_terminal, refused, start
from tinyllm.cli.progress import Progress, duration
from tinyllm.models.experts import Experts
from tinyllm.models.positions import Learned
from tinyllm.ops.routing import Routing
from tinyllm.train import main
from tinyllm.training.snapshot import snapshots
from tinyllm.training.trainer import Report

TEXT = "the cat sat on the mat. the dog sat on the log.\n" * 20
STEPS = [
    "--steps=4", "--batch-size=2", "--seq-len=8", "--eval-every=2", "--save-every=2",
    "--eval-windows=4", "--lr=0.01",
]  # fmt: skip
RECURRENT = [*STEPS, "--d-model=8", "--layers=1"]
SMALL = [*RECURRENT, "--heads=2"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def train(text, out, *words, sizes=SMALL):
    return main(["--data", str(text), "--out", str(out), *sizes, *words])


def files(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def rows(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_run_says_how_it_goes_and_leaves_a_model(text, tmp_path, capsys):
    out = tmp_path / "out"
    assert train(text, out) == 0
    said, err = capsys.readouterr()
    assert said == ""
    lines = err.splitlines()
    assert re.fullmatch(
        r"2,\d{3} parameters · 913 tokens to learn from, 48 to evaluate on · who guesses among 257"
        r" has a loss of 5.5491", lines[0]
    )  # fmt: skip
    step = r"step %d/4 · loss 5\.\d{4} · lr \S+ · norm \S+ · [\d,]+ tok/s · \d+ s left"
    assert re.fullmatch(step % 1, lines[1])
    assert re.fullmatch(step % 2 + r" · validation 5\.\d{4}", lines[2])
    assert re.fullmatch(step % 4 + r" · validation 5\.\d{4}", lines[3])
    assert re.fullmatch(r"4 steps, \d+ s; python -m tinyllm.generate --model \S+ PROMPT", lines[4])
    assert len(lines) == 5
    model = tinyllm.load(out)
    assert model.tokenizer.decode(model.tokenizer.encode("é\n")) == "é\n"
    assert len(model.generate("the", max_tokens=3, ignore_eos=True).tokens) == 3
    assert [row["step"] for row in rows(out)] == [1, 2, 3, 4]
    assert rows(out)[0]["loss"] == pytest.approx(np.log(257), rel=0.05)


def test_quiet_says_nothing_and_json_all_in_one_line(text, tmp_path, capsys):
    assert train(text, tmp_path / "a", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert train(text, tmp_path / "b", "--quiet", "--json") == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert err == ""
    assert said["step"] == 4
    assert said["loss"] == rows(tmp_path / "b")[-1]["loss"]
    assert said["best_val_loss"] == min(
        r["val_loss"] for r in rows(tmp_path / "b") if "val_loss" in r
    )


def test_a_run_that_goes_on_is_the_whole_run(text, tmp_path, capsys, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(text, whole, "--dropout=0.1")
    train(text, parts, "--dropout=0.1", "--steps=2", "--schedule=constant")
    assert main(["--resume", str(parts), "--schedule=cosine"]) == 2
    assert "with schedule 'constant', and now it is 'cosine'" in capsys.readouterr().err
    for words, said in {
        ("--layers=7",): "with --layers 1, and now it is with --layers 7: leave it out",
        ("--norm=layernorm",): "without --norm, and now it is with --norm layernorm",
        ("--vocab=300",): "without --vocab, and now it is with --vocab 300",
        ("--val-fraction=0.5",): "with --val-fraction 0.05, and now it is with --val-fraction 0.5",
        ("--separator=x",): "without --separator, and now it is with --separator x",
        ("--val-data=x",): "without --val-data, and now it is with --val-data x",
    }.items():
        assert main(["--resume", str(parts), "--steps=4", *words]) == 2
        assert said in capsys.readouterr().err
    train(text, tmp_path / "constant", "--dropout=0.1", "--schedule=constant", "--warmup=0")
    text.unlink()
    assert main(["--resume", str(parts), "--steps=4"]) == 2
    assert "text.txt: no such file" in capsys.readouterr().err
    text.write_text(TEXT + "more")
    assert main(["--resume", str(parts), "--steps=4"]) == 2
    assert "the data have changed since" in capsys.readouterr().err
    text.write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    assert main(["--resume", "--out", "parts", "--steps=4"]) == 0
    assert "going on from step 2" in capsys.readouterr().err
    name = "model.safetensors"
    assert (parts / name).read_bytes() == (tmp_path / "constant" / name).read_bytes()
    assert (parts / name).read_bytes() != (whole / name).read_bytes()
    assert main(["--resume", "parts"]) == 0
    assert "all 2 steps were taken before" not in capsys.readouterr().err


def test_a_run_in_two_sittings_is_the_whole_run(text, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(text, whole) == 0
    assert train(text, parts, "--until=3") == 0
    assert "3 steps, " in capsys.readouterr().err
    assert [row["step"] for row in rows(parts)] == [1, 2, 3]
    assert main(["--resume", str(parts)]) == 0
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_goes_on_as_it_began(precision, text, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(text, whole, "--precision", precision) == 0
    assert train(text, parts, "--precision", precision, "--until=2") == 0
    assert main(["--resume", str(parts)]) == 0
    for name in ("model.safetensors", "checkpoints/step-00000004.safetensors"):
        assert files(whole)[name] == files(parts)[name], name
    scales = [row.get("loss_scale") for row in rows(parts)]
    assert scales == [1024.0 if precision == "float16" else None] * 4
    capsys.readouterr()
    assert main(["--resume", str(parts), "--precision=float32", "--steps=5"]) == 2
    assert "was written with precision" in capsys.readouterr().err
    assert train(text, tmp_path / "wide", "--precision", precision, "--dtype=float64") == 2
    assert f"precision {precision} keeps weights in float32" in capsys.readouterr().err


def test_more_memory_than_there_is_is_refused_and_leaves_nothing(
    text, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(tinyllm_numpy, "free_memory", lambda: 1000)
    out = tmp_path / "out"
    assert train(text, out) == 2
    assert "error: training takes about " in capsys.readouterr().err
    assert not out.exists() or not any(out.glob("*.safetensors"))
    assert train(text, out, "--force") == 0
    assert "force" not in json.loads((out / "run.json").read_text())


@pytest.mark.filterwarnings("default")
def test_a_checkpoint_that_is_damaged_is_told_of_once(text, tmp_path, capsys):
    out = tmp_path / "out"
    train(text, out)
    last = snapshots(out / "checkpoints")[0]
    last.write_bytes(last.read_bytes()[:-5])
    capsys.readouterr()
    assert main(["--resume", str(out)]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert notes[0].endswith("; looking for an older one")
    assert "download" not in notes[0]


def test_steps_that_were_taken_before_are_not_gone_beyond(text, tmp_path, capsys):
    out = tmp_path / "out"
    assert train(text, out, "--until=3") == 0
    before = files(out)
    for step in ("--until=3", "--until=1"):
        capsys.readouterr()
        assert main(["--resume", str(out), step]) == 0
        assert f"step 3 was taken before; go on with: python -m tinyllm.train --resume {out}" in (
            capsys.readouterr().err
        )
        assert files(out) == before


def test_a_run_that_is_done_says_so(text, tmp_path, capsys):
    train(text, tmp_path / "out")
    before = files(tmp_path / "out")
    assert main(["--resume", str(tmp_path / "out"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "all 4 steps were taken before; more --steps would go on" in err
    assert json.loads(out)["loss"] is None
    assert files(tmp_path / "out") == before


def test_ctrl_c_saves_and_says_how_to_go_on(text, tmp_path):
    out = tmp_path / "out"
    process = start(
        "tinyllm.train", "--data", text, "--out", out, *SMALL, "--steps=100000", "--eval-every=2"
    )
    while b"step 2/" not in (line := process.stderr.readline()):
        assert line, "the run ended"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    step = int(re.search(rb"stopped after step (\d+); go on with: (.*)\n", err)[1])
    assert f"python -m tinyllm.train --resume {out}".encode() in err
    assert snapshots(out / "checkpoints")[0].stem == f"step-{step:08d}"
    assert len(rows(out)) == step
    assert not (out / "run.lock").exists()
    assert tinyllm.load(out).config.d_model == 8


def test_a_second_run_is_told_who_has_the_folder(text, tmp_path, capsys):
    out = tmp_path / "out"
    process = start("tinyllm.train", "--data", text, "--out", out, *SMALL, "--steps=100000")
    while b"step 2/" not in process.stderr.readline():
        pass
    said = refused(main, ["--resume", out], capsys)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert f"process {process.pid} is training in this folder" in said
    assert snapshots(out / "checkpoints")


def test_on_a_terminal_one_line_moves(text, tmp_path):
    code, screen = in_terminal(
        "tinyllm.train", "--data", text, "--out", tmp_path / "out", *SMALL, columns=200
    )
    assert code == 0
    assert "\rstep 1/4" in screen
    assert "validation" in screen
    assert "\x1b" not in screen


# Models, tokenizers, data


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--arch=qwen3"], {"family": "qwen3", "head_dim": 4, "qk_norm": True}),
        (["--arch=mistral"], {"family": "mistral", "windows": (None,)}),
        (["--arch=lstm"], {"family": "lstm", "d_model": 8, "d_embed": 8}),
        (["--positions=alibi"], {"family": "tinyllm"}),
        (["--kv-heads=1", "--d-ff=20", "--tie=no", "--context=99"], {
            "n_kv_heads": 1, "d_ff": 20, "tie_embeddings": False, "max_seq_len": 99,
        }),
        ([], {"family": "llama", "d_ff": 24, "max_seq_len": 8, "bos_id": 0, "eos_ids": (0,)}),
        (["--vocab=270"], {"vocab_size": 270}),
        (["--positions=rope", "--bias=no"], {"family": "llama"}),
        (["--norm=layernorm", "--mlp=gelu", "--layout=post", "--bias=yes", "--positions=learned"], {
            "family": "tinyllm", "norm": "layernorm", "mlp": "gelu", "layout": "post", "d_ff": 32,
            "qkv_bias": True, "o_bias": True, "mlp_bias": True, "positions": Learned(),
        }),
        (["--arch=gpt2", "--context=9"], {"family": "gpt2", "d_ff": 32, "max_seq_len": 9}),
        (["--arch=opt", "--d-ff=5"], {"family": "opt", "d_ff": 5, "tie_embeddings": True}),
        (["--arch=falcon", "--kv-heads=1"], {"family": "falcon", "n_kv_heads": 1}),
        (["--arch=gemma2"], {"family": "gemma2", "layout": "sandwich", "head_dim": 4}),
        (["--experts=4", "--balance=expert=0.1"], {
            "family": "mixtral",
            "experts": Experts(n_experts=4, d_ff=16, routing=Routing(k=2, renormalise=True)),
        }),
        (["--experts=3", "--experts-per-token=1", "--shared-experts=2", "--d-ff=5"], {
            "family": "tinyllm",
            "experts": Experts(
                n_experts=3, d_ff=5, shared_d_ff=10, routing=Routing(k=1, renormalise=True)
            ),
        }),
        (["--experts=6", "--expert-groups=3", "--groups-kept=2", "--expert-capacity=1.5"], {
            "family": "tinyllm",
            "experts": Experts(n_experts=6, d_ff=16, routing=Routing(
                k=2, renormalise=True, groups=3, groups_kept=2, capacity=1.5,
            )),
        }),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)  # fmt: skip
def test_flags_make_a_model(text, tmp_path, words, expected):
    sizes = RECURRENT if "--arch=lstm" in words else SMALL
    assert train(text, tmp_path / "out", "--steps=1", *words, sizes=sizes) == 0
    config = tinyllm.load(tmp_path / "out").config
    assert {name: getattr(config, name) for name in expected} == expected


def test_a_model_that_is_there_is_trained_on(text, model, tmp_path):
    out = tmp_path / "out"
    words = ["--model", str(model), "--steps=1", "--lr=1e-9"]
    assert train(text, out, *words, sizes=STEPS) == 0
    before, after = tinyllm.load(model), tinyllm.load(out)
    assert after.config == before.config
    assert after.encode_prompt("the in") == before.encode_prompt("the in")
    for name, p in before.params.items():
        np.testing.assert_allclose(after.params[name], p, atol=1e-6)


@pytest.mark.parametrize("more", [[], ["--lora=2"]])
def test_what_ends_a_text_is_kept(text, model, tmp_path, more):
    base = tmp_path / "base"
    shutil.copytree(model, base)
    (base / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    words = ["--model", str(base), *more, "--patience=3", "--until=1", "-q"]
    assert train(text, tmp_path / "out", *words, sizes=STEPS) == 0
    if not more:  # a run of all weights needs what it began with no more
        shutil.rmtree(base)
    assert main(["--resume", str(tmp_path / "out"), "-q"]) == 0
    assert tinyllm.load(tmp_path / "out").eos_ids == {2, 7}


def test_a_config_and_a_tokenizer_that_are_there_are_used(text, model, tmp_path):
    out = tmp_path / "out"
    config = json.loads((model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    words = ["--config", str(tmp_path / "config.json"), "--tokenizer", str(model), "--steps=1"]
    assert train(text, out, *words, sizes=STEPS) == 0
    assert tinyllm.load(out).config.n_layers == 3
    assert tinyllm.load(out).config.bos_id == tinyllm.load(model).config.bos_id


def test_documents_are_separated(text, tmp_path, capsys):
    text.write_text("one\n\ntwo\n\nthree, and more of it\n\n" * 9)
    words = ["--separator", r"\n\n", "--val-data", str(text)]
    assert train(text, tmp_path / "out", *words) == 0
    ids = np.load(next((tmp_path / "out").glob("tokens-*.npy")))
    assert (ids == 0).sum() == 27
    assert f"{len(ids)} tokens to learn from, {len(ids)} to evaluate on" in capsys.readouterr().err


def test_ids_of_another_program_are_learnt_from(tmp_path):
    (np.arange(500) % 50).astype("<u2").tofile(tmp_path / "ids.bin")
    assert train(tmp_path / "ids.bin", tmp_path / "out", "--vocab=50") == 0
    model = tinyllm.load(tmp_path / "out")
    assert (model.config.vocab_size, model.tokenizer) == (50, None)


def bad(text, tmp_path):
    """Return bad words, and what is said of them."""
    (tmp_path / "short.txt").write_text("abc")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    np.save(tmp_path / "ids.npy", np.arange(300))
    (tmp_path / "config.json").write_text("{}")
    data = lambda name: ["--data", tmp_path / name]  # the last --data counts
    return {
        "--steps=0": "steps is 0, expected at least 1", "--lr=0": "lr is 0.0, expected above 0",
        "--lr=nan": "'nan' is not a finite number", "--lr=-1": "lr is -1.0",
        "--batch-size=0": "batch_size is 0", "--accum=0": "accum is 0", "--clip=-1": "clip is -1.0",
        "--dropout=1": "dropout is 1.0", "--optimizer=lion": "expected one of sgd",
        "--schedule=steps": "expected one of constant", "--seed=-1": "seed is -1",
        "--until=0": "until is 0, expected at least 1",
        "--warmup=1.5": "'1.5' is not a whole number", "--val-fraction=1": "val_fraction is 1.0",
        "--val-fraction=-0.1": "val_fraction is -0.1", "--d-model=0": "--d-model is 0",
        "--heads=0": "--heads is 0", "--d-ff=0": "--d-ff is 0, expected at least 1",
        "--heads=3": "expected a multiple of 3 heads",
        "--kv-heads=3": "num_key_value_heads is 3", "--arch=gpt9": "gpt9",
        "--positions=here": "positions", "--context=5": "seq_len is 8, and the model's",
        "--arch=qwen2 --positions=alibi": "--positions does not fit a qwen2, which has no choice",
        "--norm=batchnorm": "norm is 'batchnorm'", "--mlp=tanh": "mlp is 'tanh'",
        "--layout=ring": "layout is 'ring'",
        "--arch=bloom --d-ff=5": "--d-ff 5 does not fit a bloom, which has 32 here",
        "--arch=gpt2 --kv-heads=1": "--kv-heads 1 does not fit a gpt2, which has 2 here",
        "--arch=gpt2 --experts=2": "--experts does not fit a gpt2, but llama, mixtral, tinyllm",
        "--experts=2 --mlp=gelu": "--mlp gelu does not fit --experts: each is a swiglu",
        "--experts-per-token=2": "--experts-per-token needs --experts",
        "--expert-groups=2 --expert-capacity=1":
            "--expert-groups and --expert-capacity need --experts",
        "--experts=4 --expert-groups=3": "groups is 3; expected a divisor of 4 experts",
        "--experts=4 --expert-groups=2 --groups-kept=3": "groups_kept is 3",
        "--experts=4 --expert-capacity=0": "capacity is 0",
        "--experts=4 --expert-groups=4 --groups-kept=1": "k is 2",
        "--experts=2 --experts-per-token=3": "--experts is 2, and each token passes 3",
        "--experts=2 --experts-per-token=0": "--experts-per-token is 0",
        "--experts=1": "expected at least 2, or fewer --experts-per-token",
        "--arch=mixtral": "a mixtral is a mixture of experts: give their number with --experts",
        "--arch=deepseek_v2": "qk_nope_head_dim is missing, and no flag gives it: give a deepseek",
        "--balance=z=1": "balance is 'z=1', and the model has no experts",
        "--balance=z": "balance has 'z', expected weights of expert, device, travel, mixtral, z",
        "--label-smoothing=1": "label_smoothing is 1.0", "--z-loss=-1": "z_loss is -1.0",
        "--tokenizer=nowhere": "nowhere", "--vocab=3": "vocab_size",
        "--patience=1 --val-fraction=0": "patience needs validation data",
        "--separator=": "argument --separator: is empty",
        "--seq-len=999": "913 tokens, and one window of seq_len 999 takes 1000",
        "short": (data("short.txt"), "4 tokens, and one window of seq_len 8 takes 9"),
        "empty": (data("empty.txt"), "empty.txt: is empty"),
        "latin": (data("latin.txt"), "latin.txt: is not UTF-8 at byte 3"),
        "absent": (data("absent.txt"), "absent.txt: no such file"),
        "folder": (data("."), "is not a regular file"),
        "ids": (data("ids.npy"), "--vocab says how many there are"),
        "too many ids": ([*data("ids.npy"), "--vocab=9"], "token 9 is 9, and the model's"),
        "another folder": (["--resume", tmp_path / "x"], "--resume and --out name two folders"),
        "no run": (["--resume"], "has no run.json, so no run to go on with"),
    }  # fmt: skip


def test_bad_words_are_refused_in_one_line_and_leave_nothing(text, tmp_path, capsys):
    for index, (key, value) in enumerate(bad(text, tmp_path).items()):
        words, why = value if isinstance(value, tuple) else (key.split(), value)
        out = tmp_path / f"out{index}"
        words = ["--quiet", "--data", text, "--out", out, *SMALL, *words]
        said = refused(main, words, capsys)
        assert why in said, f"{key}: {said}"
        assert not out.exists(), key
    assert refused(main, ["--out", tmp_path / "o"], capsys).startswith("there is nothing to learn")
    assert refused(main, ["--data", text], capsys).startswith("there is nowhere to write")
    words = ["--data", text, "--out", tmp_path / "o", "--model=nowhere"]
    assert "nowhere" in refused(main, words, capsys)
    words[-1:] = ["--config", tmp_path / "config.json"]
    assert "model_type is missing" in refused(main, words, capsys)


UNREAD = {
    "d_model": "--model=M --d-model=8", "arch": "--model=M --arch=gpt2",
    "tie": "--model=M --tie=no", "config": "--model=M --config=C",
    "norm": "--model=M --norm=layernorm", "tokenizer": "--model=M --tokenizer=bytes",
    "vocab": "--model=M --vocab=300",
    "experts": "--config=C --experts=4", "context": "--config=C --context=5000",
    "heads": "--arch=rnn --heads=4", "norm ": "--arch=lstm --norm=rmsnorm",
    "kv_heads": "--arch=lstm --kv-heads=1", "vocab ": "--tokenizer=bytes --vocab=300",
    "average_decay": "--average=mean --average-decay=0.9", "average_from": "--average-from=1",
    "weight_decay": "--optimizer=sgd --weight-decay=0.5",
    "floor": "--schedule=constant --floor=0.5",
    "floor ": "--schedule=noam --floor=0.5", "val_fraction": "--val-data=T --val-fraction=0.2",
    "patience": "--patience=2 --eval-every=0",
}  # fmt: skip


@pytest.mark.parametrize("flag", UNREAD)
def test_a_flag_that_nothing_would_read_is_refused_by_its_name(text, model, tmp_path, capsys, flag):
    at = {"=M": f"={model}", "=C": f"={model / 'config.json'}", "=T": f"={text}"}
    words = [word[:-2] + at.get(word[-2:], word[-2:]) for word in UNREAD[flag].split()]
    said = refused(main, ["--data", text, "--out", tmp_path / "out", *STEPS, *words], capsys)
    assert said.startswith("--" + flag.strip().replace("_", "-")), said
    assert "not read" in said or "does not fit" in said
    assert not (tmp_path / "out").exists()


def test_a_separator_of_ids_is_refused(tmp_path, capsys):
    np.save(tmp_path / "ids.npy", np.arange(300) % 50)
    words = ["--data", tmp_path / "ids.npy", "--vocab=50", "--separator=x", "--out", tmp_path / "o"]
    assert "--separator is not read where --data has token ids" in refused(main, words, capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--warmup=5"], "--warmup is 5, beyond --steps: the rate will not get as high as --lr"),
        (["--average=mean", "--average-from=5"], "--average-from is 5, beyond --steps: nothing"),
    ],
)
@pytest.mark.filterwarnings("default")
def test_a_step_beyond_all_steps_is_told(text, tmp_path, capsys, words, said):
    assert train(text, tmp_path / "out", *words) == 0
    assert f"note: {said}" in capsys.readouterr().err


OTHERS = {
    "a model": ["config.json", "model.safetensors"],
    "a model in shards": ["model.safetensors.index.json", "model-00001-of-00002.safetensors"],
    "a tokenizer": ["tokenizer.model"],
    "metrics": ["metrics.jsonl"],
}


@pytest.mark.parametrize("case", OTHERS)
def test_files_of_no_run_are_not_replaced(text, tmp_path, capsys, case):
    out = tmp_path / "out"
    out.mkdir()
    for name in OTHERS[case]:
        (out / name).write_text("mine")
    said = refused(main, ["--data", text, "--out", out, *SMALL], capsys)
    assert "which is of no run and would be replaced; give another --out" in said
    assert files(out) == dict.fromkeys(OTHERS[case], b"mine")


def test_the_weights_to_start_from_are_not_replaced(text, model, tmp_path, capsys):
    shutil.copytree(model, tmp_path / "mine")
    words = ["--data", text, "--model", tmp_path / "mine", "--out", tmp_path / "mine", *STEPS]
    assert "give another --out" in refused(main, words, capsys)
    assert files(tmp_path / "mine") == files(model)


def test_a_run_that_goes_astray_ends_with_1_and_says_where(text, model, tmp_path, capsys):
    from tinyllm.checkpoints import read_tensors, write_tensors

    name = "model.layers.1.mlp.down_proj.weight"
    tensors = {k: np.array(v) for k, v in read_tensors(model / "model.safetensors").items()}
    tensors[name][0, 0] = np.inf
    shutil.copytree(model, tmp_path / "model")
    write_tensors(tmp_path / "model" / "model.safetensors", tensors)
    words = ["--quiet", "--data", text, "--out", tmp_path / "out", "--model", tmp_path / "model"]
    said = refused(main, [*words, *STEPS], capsys, code=1)
    assert f"{name} is not finite; nothing was saved yet" in said


@pytest.mark.parity
def test_the_model_is_read_by_transformers(text, tmp_path):
    transformers = pytest.importorskip("transformers")
    import torch

    train(text, tmp_path / "out", "--quiet")
    model = tinyllm.load(tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")("the cat")["input_ids"]
    assert model.encode_prompt("the cat") in (tokens, [0, *tokens])
    with torch.no_grad():
        logits = theirs(torch.tensor([[0, 3, 5]])).logits.numpy()
    np.testing.assert_allclose(model.forward([[0, 3, 5]]), logits, atol=1e-5)


# Progress


def report(step, val_loss=None):
    return Report(
        step=step, loss=2.0, lr=0.001, grad_norm=1.0, counted=100, tokens=100 * step,
        val_loss=val_loss,
    )  # fmt: skip


def test_progress_counts_late_steps_more_and_no_time_backwards():
    progress = Progress(10)
    assert progress.line(report(1), 2.0) == (
        "step 1/10 · loss 2.0000 · lr 1.00e-03 · norm 1.00 · 50 tok/s · 18 s left"
    )
    for step in range(2, 10):
        line = progress.line(report(step), 1.0)
    assert "1 s left" in line
    assert "100 tok/s · 10 s left" in Progress(6).line(report(1), 1.0, evaluations=1.0)
    backwards = Progress(10).line(report(1, 3.0), -5.0)
    assert "tok/s" not in backwards
    assert backwards.endswith("0 s left · validation 3.0000")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
