"""Does a model that was trained on short texts know what to do with long ones?

Models that are alike but for their positions learn to continue texts of 64 characters. Then each
predicts the same 16 characters at the end of longer and longer texts: what it does worse with more
text before them, it does because it has never seen such positions.

Expected: RoPE is best at the length it was trained on, and fails beyond it, for its scores depend
on distances and it has not seen those; sinusoidal positions fail, too; ALiBi goes on (Press et al.
2021, arXiv:2108.12409). RoPE can be helped without training: positions are squeezed into known ones
(position interpolation, arXiv:2306.15595), or only its slow clocks are slowed down (Llama 3.1's
rule, arXiv:2407.21783).

    python examples/03_length_generalisation.py --quick
    python examples/03_length_generalisation.py --data tinyshakespeare.txt --seeds 3
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.errors import UsageError
from tinyllm.models.config import DecoderConfig
from tinyllm.models.decoder import head_forward
from tinyllm.models.init import init_params
from tinyllm.models.positions import Alibi, Learned, Positions, Sinusoidal
from tinyllm.models.rope import Rope
from tinyllm.models.stack import hidden_states
from tinyllm.ops.softmax import log_softmax_forward
from tinyllm.params import nest
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.windows import Windows

xp = get_backend("numpy")
TRAINED, SCORED = 64, 16  # characters
LENGTHS = 64, 128, 256, 512
ROPE = Rope(theta=10000.0, original_context=TRAINED)
WAYS: dict[str, Positions] = {
    "sinusoidal": Sinusoidal(), "learned": Learned(), "RoPE": ROPE, "ALiBi": Alibi(), "none": None,
}  # fmt: skip
STRETCHED = {"RoPE, interpolated": "linear", "RoPE, Llama 3's rule": "llama3"}
Losses = dict[str, dict[int, float]]


class Scale(NamedTuple):
    """How large the experiment is; `texts` are scored."""

    steps: int
    batch: int
    n_layers: int
    d_model: int
    n_heads: int
    texts: int


QUICK = Scale(steps=90, batch=8, n_layers=2, d_model=32, n_heads=2, texts=8)
WHOLE = Scale(steps=900, batch=16, n_layers=3, d_model=96, n_heads=4, texts=48)


# A text by rule, where none is given: who has what must be remembered from sentence to sentence.


def text_by_rule(sentences: int) -> str:
    rng, said = np.random.default_rng(0), []
    for _ in range(sentences):
        a, b = rng.permutation(["anna", "ben", "clara", "david", "eva"])[:2]
        what = f"{rng.choice(['red', 'green', 'old'])} {rng.choice(['ball', 'book', 'kite'])}"
        said.append(f"{a} gives {b} the {what}. now {b} has the {what}, and {a} has none.\n")
    return "".join(said)


# Train: everything but the positions is the same, the order of the batches included.


def config(positions: Positions, vocab_size: int, scale: Scale) -> DecoderConfig:
    """A small Llama; beside sinusoids, which are large, its embeddings grow as in the paper."""
    L, D, H = scale.n_layers, scale.d_model, scale.n_heads
    return DecoderConfig(
        family="tinyllm", vocab_size=vocab_size, d_model=D, d_ff=8 * D // 3, n_layers=L, n_heads=H,
        n_kv_heads=H, head_dim=D // H, max_seq_len=TRAINED, norm_eps=1e-5, windows=(None,) * L,
        positions=positions,
        embedding_scale=math.sqrt(D) if isinstance(positions, Sinusoidal) else 1.0,
    )  # fmt: skip


def train(model: DecoderConfig, tokens: Any, scale: Scale, seed: int) -> dict[str, Any]:
    settings = Settings(
        steps=scale.steps, batch_size=scale.batch, seq_len=TRAINED, lr=3e-3,
        warmup=scale.steps // 10, seed=seed,
    )  # fmt: skip
    params = init_params(model, np.random.default_rng(seed))
    trainer = Trainer(xp, model, params, Windows(tokens, TRAINED, seed=seed), settings)
    for _ in trainer:
        pass
    return nest(trainer.result)


# Score: the same characters at the end, with more and more text before them.


def loss_at_the_end(
    p: dict[str, Any], model: DecoderConfig, tokens: Any, texts: int, length: int
) -> float:
    """Return the mean nats of the last characters of texts that end at the same places."""
    ends = np.linspace(max(LENGTHS), len(tokens) - 1, texts).astype(int)
    rows = np.stack([tokens[end - length : end + 1] for end in ends])
    try:
        hidden = hidden_states(xp, rows[:, :-1], p, model)
    except UsageError:  # a learned table has no more rows
        return math.nan
    log_probs, _ = log_softmax_forward(xp, head_forward(xp, hidden[:, -SCORED:], p)[0])
    return -float(np.take_along_axis(log_probs, rows[:, -SCORED:, None], axis=-1).mean())


def experiment(tokens: Any, scale: Scale, seed: int) -> Losses:
    """Train a model of each kind, and stretch the one with RoPE: nats by length."""
    trained, held_out = np.split(tokens, [len(tokens) * 9 // 10])
    losses: Losses = {}
    for name, positions in WAYS.items():
        model = config(positions, int(tokens.max()) + 1, scale)
        print(f"training {name}, seed {seed}", file=sys.stderr)
        p = train(model, trained, scale, seed)
        losses[name] = {n: loss_at_the_end(p, model, held_out, scale.texts, n) for n in LENGTHS}
        for stretched, kind in STRETCHED.items() if name == "RoPE" else ():
            models = {n: replace(model, positions=stretch(kind, n)) for n in LENGTHS}
            losses[stretched] = {
                n: loss_at_the_end(p, models[n], held_out, scale.texts, n) for n in LENGTHS
            }
    return losses


def stretch(kind: str, length: int) -> Rope:
    """Bring so many positions to where the trained ones were, without training."""
    return replace(ROPE, kind=kind, factor=length / TRAINED)


# Judge: what is said of these positions, whether it was expected to be so here, and whether it is.


def rise(x: dict[int, float]) -> float:
    """How much is lost, in nats, from the trained length to the worst of all."""
    return max(x.values()) - x[TRAINED]


Judge = Callable[[Losses], bool]
CLAIMS: dict[str, tuple[bool, Judge]] = {
    "sinusoidal positions fail beyond it": (True, lambda x: rise(x["sinusoidal"]) > 0.25),
    "RoPE is as good at any length": (False, lambda x: rise(x["RoPE"]) < 0.25),
    "ALiBi is as good at any length": (True, lambda x: rise(x["ALiBi"]) < 0.25),
    "RoPE is the best at the trained length": (
        True, lambda x: x["RoPE"][64] == min(loss[64] for loss in x.values()),
    ),
    "interpolation helps RoPE at twice the length": (
        True, lambda x: x["RoPE, interpolated"][128] < x["RoPE"][128],
    ),
    "Llama 3's rule helps RoPE at twice the length": (
        True, lambda x: x["RoPE, Llama 3's rule"][128] < x["RoPE"][128],
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, help="a text; without it, one is made by rule")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small models, in seconds")
    args = parser.parse_args()
    text = args.data.read_text("utf-8") if args.data else text_by_rule(4000)
    tokens = np.unique(list(text), return_inverse=True)[1]
    scale = QUICK if args.quick else WHOLE
    runs = [experiment(tokens, scale, seed) for seed in range(args.seeds)]
    print(f"nats per character of the last {SCORED}, trained on {TRAINED}; seeds: {args.seeds}")
    print(f"{'characters':21}" + "".join(f"{n:>13}" for n in LENGTHS))
    mean: Losses = {}
    for name in runs[0]:
        values = {n: np.array([run[name][n] for run in runs]) for n in LENGTHS}
        mean[name] = {n: float(of_seeds.mean()) for n, of_seeds in values.items()}
        print(f"{name:21}" + "".join(f"{cell(of_seeds):>13}" for of_seeds in values.values()))
    for claim, (expected, judge) in CLAIMS.items():
        verdict = "reproduced" if judge(mean) else "not reproduced at this scale"
        print(f"{claim}: {verdict}, {'as' if judge(mean) == expected else 'not as'} expected")


def cell(of_seeds: Any) -> str:
    """Write the mean of the seeds, and how far the farthest is from it."""
    if np.isnan(of_seeds).any():
        return "refused"
    spread = np.abs(of_seeds - of_seeds.mean()).max()
    return f"{of_seeds.mean():.2f}" + (f" ± {spread:.2f}" if len(of_seeds) > 1 else "")


if __name__ == "__main__":
    main()
