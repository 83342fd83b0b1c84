"""Is a mixture of experts better than a dense model that does as much arithmetic for each token?

Three models that are alike but for their feed-forward layers learn to continue a text:

    dense            one layer of width F
    mixture          8 experts of width F/2, of which each token passes 2: as much arithmetic
    wide             one layer of width 4F: as many parameters as all experts have

The mixture is trained twice, with and without a loss that keeps its router from having favourites
(Fedus et al. 2021, arXiv:2101.03961, eq. 4): how evenly the experts are used is the entropy of
their loads, 1 where all are sent the same. Then each is trained further on 200 short texts: what it
learns by heart it loses on others, and mixtures are said to do so more (Zoph et al. 2022,
arXiv:2202.08906, section 4).

Expected (Jiang et al. 2024, arXiv:2401.04088): the mixture has a lower loss than the dense model
for the same arithmetic; not so for the same time, for on a CPU many small products take longer
than one large; and it has the memory of the wide one.

    python examples/10_moe_versus_dense.py --quick
    python examples/10_moe_versus_dense.py --data tinyshakespeare.txt --seeds 3
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.models.architecture import architecture
from tinyllm.models.config import DecoderConfig
from tinyllm.models.experts import Experts
from tinyllm.models.init import init_params
from tinyllm.models.rope import Rope
from tinyllm.ops.routing import Routing
from tinyllm.params import nest
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.validation import mean_loss
from tinyllm.training.windows import Windows, WindowsInOrder

xp = get_backend("numpy")
E, K = 8, 2  # experts, and those of a token
RECORDS, LENGTH = 200, 64  # texts to train on further, and characters of each


class Scale(NamedTuple):
    """How large the experiment is."""

    steps: int
    batch: int
    n_layers: int
    d_model: int
    d_ff: int
    passes: int  # over the texts that are trained on further


QUICK = Scale(steps=60, batch=8, n_layers=2, d_model=16, d_ff=48, passes=2)
WHOLE = Scale(steps=600, batch=16, n_layers=2, d_model=64, d_ff=192, passes=10)
BALANCE = "expert=0.01"
MODELS: dict[str, tuple[float, bool, str]] = {  # times F, whether of experts, and their balance
    "dense": (1, False, ""), "mixture": (1 / K, True, BALANCE), "mixture, unbalanced": (
        1 / K, True, ""), "wide": (E / K, False, ""),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What came of one model: losses in nats per character, of text that it has not seen."""

    parameters: int
    flops: int  # of a step forward and back
    curve: list[tuple[float, float]]  # seconds of training, loss
    evenness: float  # entropy of the loads, in parts of the largest; of the worst layer
    gap: float  # after the texts that it learnt by heart: loss on others less loss on these
    before: float  # the gap before

    @property
    def loss(self) -> float:
        return self.curve[-1][1]

    @property
    def seconds(self) -> float:
        return self.curve[-1][0]

    def loss_after(self, seconds: float) -> float:
        """The loss at a time of training, on a line between two evaluations."""
        times, losses = zip(*self.curve, strict=True)
        return float(np.interp(seconds, times, losses))


def text_by_rule(sentences: int) -> str:
    """A text, where none is given: who has what must be remembered from sentence to sentence."""
    rng, said = np.random.default_rng(0), []
    for _ in range(sentences):
        a, b = rng.permutation(["anna", "ben", "clara", "david", "eva"])[:2]
        what = f"{rng.choice(['red', 'green', 'old'])} {rng.choice(['ball', 'book', 'kite'])}"
        said.append(f"{a} gives {b} the {what}. now {b} has the {what}, and {a} has none.\n")
    return "".join(said)


def config_of(name: str, vocab_size: int, scale: Scale) -> DecoderConfig:
    """A small Llama, with a feed-forward layer or experts."""
    times, of_experts, _ = MODELS[name]
    L, D, F = scale.n_layers, scale.d_model, round(scale.d_ff * times)
    routing = Routing(k=K, renormalise=True)
    return DecoderConfig(
        family="tinyllm", vocab_size=vocab_size, d_model=D, d_ff=F, n_layers=L, n_heads=4,
        n_kv_heads=4, head_dim=D // 4, max_seq_len=LENGTH, norm_eps=1e-5, windows=(None,) * L,
        positions=Rope(theta=10000.0), tie_embeddings=True,
        experts=Experts(n_experts=E, d_ff=F, routing=routing) if of_experts else None,
    )  # fmt: skip


def trained(
    config: DecoderConfig,
    params: Any,
    tokens: Any,
    settings: Settings,
    held_out: Any,
    checks: int = 10,
) -> tuple[Trainer, list[tuple[float, float]], Any]:
    """Train: -> the trainer, losses on the way, what each expert was sent in the last tenth."""
    trainer = Trainer(xp, config, params, Windows(tokens, LENGTH, seed=settings.seed), settings)
    seconds, losses, loads = [], {0: loss_on(trainer, held_out)}, []
    while not trainer.done:
        start = time.perf_counter()
        report = trainer.advance()
        seconds.append(time.perf_counter() - start)
        if report.step % math.ceil(settings.steps / checks) == 0 or trainer.done:
            losses[report.step] = loss_on(trainer, held_out)
        if report.expert_load and report.step > 0.9 * settings.steps:
            loads.append(report.expert_load)
    of_step = float(np.median(seconds))  # for other programs slow some steps down
    curve = [(step * of_step, loss) for step, loss in losses.items()]
    return trainer, curve, np.mean(loads, axis=0) if loads else None


def loss_on(trainer: Trainer, tokens: Any) -> float:
    batches = WindowsInOrder(tokens, LENGTH).batches(16, 128)
    return mean_loss(xp, trainer.config, nest(trainer.params), batches)


def evenness(loads: Any) -> float:
    """How even the worst layer's loads are: -Σ p log p / log E, 1 where all are the same."""
    if loads is None:
        return math.nan
    p = loads / loads.sum(axis=1, keepdims=True)
    return float((-(p * np.log(np.maximum(p, 1e-30))).sum(axis=1) / math.log(E)).min())


def experiment(name: str, tokens: Any, scale: Scale, seed: int) -> Found:
    """Train one model on most of a text, then on a few of the texts that it has not seen."""
    learnt, rest = np.split(tokens, [len(tokens) * 8 // 10])
    records, held_out = np.split(rest, [RECORDS * LENGTH + 1])
    config, balance = config_of(name, int(tokens.max()) + 1, scale), MODELS[name][2]
    settings = Settings(
        steps=scale.steps, batch_size=scale.batch, seq_len=LENGTH, lr=3e-3, balance=balance,
        eval_every=0, seed=seed,
    )  # fmt: skip
    params = init_params(config, np.random.default_rng(seed))
    trainer, curve, loads = trained(config, params, learnt, settings, held_out)
    steps = scale.passes * RECORDS // scale.batch
    further = replace(settings, steps=steps, lr=1e-3)
    tuned, _, _ = trained(config, trainer.params, records, further, held_out, checks=1)
    gaps = [loss_on(each, held_out) - loss_on(each, records) for each in (trainer, tuned)]
    itself, before = architecture(config).flops(config)
    flops = 3 * scale.batch * LENGTH * (itself + before * LENGTH // 2)
    return Found(
        parameters=sum(x.size for x in params.values()), flops=flops, curve=curve,
        evenness=evenness(loads), gap=gaps[1], before=gaps[0],
    )  # fmt: skip


Runs = dict[str, list[Found]]  # of each seed


def differences(runs: Runs, name: str, other: str, of: Callable[[Found], float]) -> Any:
    return np.array([of(a) - of(b) for a, b in zip(runs[name], runs[other], strict=True)])


def claims(runs: Runs) -> list[tuple[str, bool, Any]]:
    """What is said, whether it was expected to hold here, and by how much it does in each seed."""
    in_time = [m.loss_after(d.seconds) for m, d in zip(runs["mixture"], runs["dense"], strict=True)]
    dense = np.array([found.loss for found in runs["dense"]])
    entropy = differences(runs, "mixture", "mixture, unbalanced", lambda x: x.evenness)
    unbalanced = differences(runs, "mixture, unbalanced", "mixture", lambda x: x.loss)
    gap = differences(runs, "mixture", "dense", lambda x: x.gap - x.before)
    return [
        ("the mixture's loss is lower for the same arithmetic, by nats", True,
         differences(runs, "dense", "mixture", lambda x: x.loss)),
        ("the mixture's loss is lower for the same time, by nats", False, dense - in_time),
        ("the mixture's loss is lower than the wide model's, by nats", False,
         differences(runs, "wide", "mixture", lambda x: x.loss)),
        ("a step of the mixture takes less time than one of the wide model, by seconds", False,
         differences(runs, "wide", "mixture", lambda x: x.seconds)),
        ("the loss of its router spreads the load, by parts of its entropy", True, entropy),
        ("the loss of its router lowers the other loss, too, by nats", False, unbalanced),
        ("the mixture learns more by heart than the dense model, by nats", True, gap),
    ]  # fmt: skip


def verdict(by: Any) -> str:
    """A claim holds where it does in every seed, and does not where it does not on average."""
    if (by > 0).all():
        return "reproduced"
    return "not reproduced at this scale" if by.mean() <= 0 else "not in every seed"


def cell(values: list[float]) -> str:
    """Write the mean of the seeds, and how far the farthest is from it."""
    x = np.array(values)
    if np.isnan(x).any():
        return ""
    spread = np.abs(x - x.mean()).max()
    return f"{x.mean():.3f}" + (f" ± {spread:.3f}" if len(x) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a text; without it, one is made by rule")
    parser.add_argument("--seeds", type=int, default=1, metavar="N")
    parser.add_argument("--quick", action="store_true", help="small models, in seconds")
    args = parser.parse_args()
    text = args.data.read_text("utf-8") if args.data else text_by_rule(4000)
    tokens = np.unique(list(text), return_inverse=True)[1]
    scale, runs = QUICK if args.quick else WHOLE, Runs()
    for seed in range(args.seeds):
        for name in MODELS:
            print(f"training {name}, seed {seed}", file=sys.stderr)
            runs.setdefault(name, []).append(experiment(name, tokens, scale, seed))
    source = args.data.name if args.data else "sentences by rule"
    print(
        f"{source}: {scale.steps} steps of {scale.batch} texts of {LENGTH} characters, {E} experts,"
        f" {K} for each token; seeds: {args.seeds}"
    )
    heads = ("loss", "seconds", "entropy", "gap after")
    print(f"{'':20}{'parameters':>12}{'GFLOP/step':>12}" + "".join(f"{x:>17}" for x in heads))
    for name, found in runs.items():
        columns = [[x.loss for x in found], [x.seconds for x in found],
                   [x.evenness for x in found], [x.gap for x in found]]  # fmt: skip
        print(
            f"{name:20}{found[0].parameters:>12,}{found[0].flops / 1e9:>12.3f}"
            + "".join(f"{cell(column):>17}" for column in columns)
        )
    for claim, expected, by in claims(runs):
        holds = verdict(by)
        as_expected = "as" if (holds == "reproduced") == expected else "not as"
        print(f"{claim} {cell(by.tolist())}: {holds}, {as_expected} expected")


if __name__ == "__main__":
    main()
