"""Half of the model that ships, taught by the whole: python -m tools.stories.half STORIES WORK

STORIES has train.txt and validation.txt, as `tools.stories.prepare` writes them; WORK gets the
models. Minitron cuts the model to half of its parameters, the model itself then teaches what is
left; the same shape, from random weights, is trained on the text alone with the same budget. Prints
the loss on validation stories, that no training story shares a run of 60 letters with, and the
seconds of CPU that each took. Exits with 1 where the pruned student wins back less than 80 % of the
lost nats, or is no better than the one from scratch.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHOLE = ROOT / "tinyllm" / "shipped"
SHAPE = ["--ffn=312", "--width=160", "--layers=4", "--heads=2"]
DOCUMENTS = ["--separator", "<|endoftext|>"]
STEPS = {"distilled": 300, "from scratch": 300, "from scratch, more steps": 420}
WANTED = 0.8  # of the lost nats


def run(*words: str | Path) -> tuple[str, float]:
    """Run a command of tinyllm; return what it prints, and the seconds of CPU that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def nats(model: Path, text: Path) -> float:
    """Return the mean cross-entropy of a token of the validation stories."""
    words = ["--protocol", "doc", "--context", "512", "--json", "-q"]
    said, _ = run("tinyllm.evaluate", "perplexity", "--model", model, "--text", text, *words,
                  *DOCUMENTS)  # fmt: skip
    return float(json.loads(said)["nll"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stories", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of steps")
    args = parser.parse_args()
    text, validation = (args.stories.resolve() / f"{n}.txt" for n in ("train", "validation"))
    work = args.work.resolve()
    data = ["--data", text, "--val-data", validation, *DOCUMENTS, "--seq-len=256"]
    data += ["--batch-size=16", "--optimizer=muon", "--lr=0.004", "--schedule=linear"]
    data += ["--floor=0.01", "--eval-every=100", "--eval-windows=64"]

    student = work / "pruned"
    calibration = ["--samples=128", "--seqlen=256", "--eval-tokens=0", *DOCUMENTS]
    _, cpu = run("tinyllm.prune", "-m", WHOLE, "--method=minitron", *SHAPE, "--calib", text,
                 *calibration, "-q", "--out", student)  # fmt: skip
    seconds = {"pruned": cpu}
    whole, found = nats(WHOLE, validation), {"pruned": nats(student, validation)}
    print(f"the model that ships: {whole:.4f} nats; pruned: {found['pruned']:.4f}", flush=True)
    config = ["--config", student / "config.json", "--tokenizer", student]
    new = {"distilled": ["tinyllm.distill", "--teacher", WHOLE, "--student", student, "--loss=kl"]}
    for name in list(STEPS)[1:]:
        new[name] = ["tinyllm.train", *config]
    for name, words in new.items():
        steps, out = max(2, round(STEPS[name] * args.scale)), work / name.replace(" ", "-")
        _, seconds[name] = run(*words, *data, f"--steps={steps}", "--out", out, "-q")
        found[name] = nats(out, validation)
        back = (found["pruned"] - found[name]) / (found["pruned"] - whole)
        print(
            f"{name}: {steps} steps, {steps * 4096:,} tokens, {seconds[name]:.0f} s of CPU: "
            f"{found[name]:.4f} nats, {back:.1%} of what was lost is back",
            flush=True,
        )
    back = (found["pruned"] - found["distilled"]) / (found["pruned"] - whole)
    good = back >= WANTED and found["distilled"] < min(found[name] for name in list(STEPS)[1:])
    print(
        f"at least {WANTED:.0%} of the lost nats are back, and fewer are lost than from scratch: "
        + ("reproduced" if good else "not reproduced")
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
