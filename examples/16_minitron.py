"""Narrower or shallower, and what to learn from afterwards: the teacher, the text, or both?

Minitron (Muralidharan et al. 2024, arXiv:2407.14679) cuts a model by what its activations say, and
trains what is left on the teacher's next-token distribution: KL(p ‖ q) alone, on few tokens. Its
models of 8B and 4B are said to need up to 40 times fewer tokens than training from scratch; that
cannot be run here.

Half of the feed-forward neurons go, or half of the blocks. What is left is trained on the same
tokens by KL, by the cross-entropy of the text (CE), by both, and as a new model from random weights
by CE. (Half of the neurons leave more parameters than half of the blocks do: the table has both
counts.) Expected: pruned and taught is better than from scratch; narrower is better than shallower,
where both were trained again; and KL alone is at least as good as CE.

    python examples/16_minitron.py --quick
    python examples/16_minitron.py --model stories260K --data stories.txt
"""

from dataclasses import replace
from typing import Any

import numpy as np
from small_model import Text, arguments, subject, verdict

from tinyllm.compression.distillation import Distillation, Teacher, loss_of
from tinyllm.compression.layer_costs import mean_nats
from tinyllm.compression.minitron import Target, cut_out, minitron
from tinyllm.model import Model
from tinyllm.models.cost import count_parameters
from tinyllm.models.init import init_params
from tinyllm.params import nest
from tinyllm.training.losses import next_token_loss
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.windows import Windows

SEEDS = (0, 1, 2)
WAYS: dict[str, Distillation | None] = {
    "KL": Distillation(), "CE": None, "KL + CE": Distillation(ce=1.0), "CE from scratch": None,
}  # fmt: skip


def trained(
    model: Model, params: Any, config: Any, text: Text, way: str, settings: Settings
) -> float:
    """The loss on held-out text, after a little training: nats of a token."""
    if "scratch" in way:
        params = init_params(config, np.random.default_rng(settings.seed))
    what, teacher = WAYS[way], Teacher(model.config, nest(model.params))
    loss = next_token_loss if what is None else loss_of(teacher, what)
    data = Windows(text.training, settings.seq_len, seed=settings.seed)
    trainer = Trainer(model.xp, config, params, data, settings, loss=loss)
    for _ in trainer:
        pass
    return mean_nats(model.xp, trainer.result, config, text.held_out)


def main() -> None:
    args = arguments(__doc__)
    model, texts = subject(args)
    text, config = texts[-1], model.config  # the real one, where there are two
    dense = mean_nats(model.xp, model.params, config, text.held_out)
    targets = {
        "half of the neurons": Target(ffn=config.d_ff // 2),
        "half of the blocks": Target(layers=config.n_layers // 2),
    }
    settings = Settings(
        steps=60 if args.quick else 150, batch_size=8, seq_len=min(128, model.config.max_seq_len),
        lr=3e-3, warmup=10, eval_every=0,
    )  # fmt: skip
    tokens = settings.steps * settings.batch_size * settings.seq_len
    print(f"{text.name}; dense {dense:.4f} nats, {count_parameters(config):,} parameters")
    print(f"each learns from {tokens:,} tokens; nats of a held-out token")
    print(" " * 34 + "pruned" + "".join(f"{way:>20}" for way in WAYS))
    found: dict[str, dict[str, float]] = {}
    for name, target in targets.items():
        cut = minitron(model.xp, model.params, config, target, text.calibration)
        params, small = cut_out(model.xp, model.params, config, cut)
        pruned = mean_nats(model.xp, params, small, text.held_out)
        line = f"{name:>20}, {count_parameters(small):>10,}  {pruned:6.3f}"
        found[name] = {}
        for way in WAYS:
            nats = [
                trained(model, params, small, text, way, replace(settings, seed=seed))
                for seed in SEEDS
            ]
            found[name][way] = float(np.mean(nats))
            line += f"{np.mean(nats):11.4f} ± {np.std(nats):.4f}"
        print(line, flush=True)
    for name, row in found.items():
        verdict(
            f"{name}: taught by KL better than from scratch", row["KL"] < row["CE from scratch"]
        )
        verdict(f"{name}: KL alone at least as good as CE", row["KL"] <= row["CE"])
        verdict(f"{name}: KL alone at least as good as both", row["KL"] <= row["KL + CE"])
    narrow, shallow = found.values()
    verdict("narrower is better than shallower after training", narrow["KL"] < shallow["KL"])
    print("40 times fewer tokens than from scratch: cannot be tested at this scale")


if __name__ == "__main__":
    main()
