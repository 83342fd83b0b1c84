"""How linear is a transformer's block, and can the model do without it, or with a matrix instead?

Razzhigaev et al. 2024 (arXiv:2405.12250) find that a linear map of what goes into a block explains
0.99 of the variance of what comes out, in decoders of 7B; that the most linear blocks can be
removed; that a linear map in their place is better still, and best one that is distilled: all maps
learn together what came out of every block.

Expected: at this size the score is far lower, and most of it is the residual stream itself: without
it, what the block adds is much less linear. The most linear block is cheap to remove, though the
ranking of all agrees only loosely. In its place a linear map is better than nothing, always; and
where several go, maps that are fitted one after the other are better than all to the dense model,
and a little training of all, by the squared error of the residual stream, helps these further.

    python examples/08_linear_layers.py --quick
    python examples/08_linear_layers.py --model stories260K --data stories.txt
"""

import math
from typing import Any

import numpy as np
from small_model import Text, arguments, subject, verdict

from tinyllm.compression.depth import (
    Maps,
    block_facts,
    fit_maps_in_order,
    fit_maps_to_dense,
    least_needed,
    logits_with,
    remove_layers,
    replace_layers,
)
from tinyllm.compression.distillation import Distillation, Teacher, loss_of
from tinyllm.model import Model
from tinyllm.models.config import DecoderConfig
from tinyllm.ops.losses import summed_cross_entropy
from tinyllm.params import nest
from tinyllm.training.parts import PartlyFrozen
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.windows import Windows

STEPS = 60  # of training


def perplexity(
    model: Model,
    params: dict[str, Any],
    config: DecoderConfig,
    text: Text,
    maps: Maps | None = None,
) -> float:
    """Of texts that were not fitted, with linear maps in the place of some blocks."""
    xp, tree, tokens = model.xp, nest(params), text.held_out
    nats = 0.0
    for rows in np.array_split(tokens, max(1, tokens.size // 4096)):
        logits = logits_with(xp, rows[:, :-1], tree, config, maps or {})
        nats += float(summed_cross_entropy(xp, logits, xp.asarray(rows[:, 1:]))[0])
    return math.exp(nats / (tokens.size - len(tokens)))


def distilled(model: Model, text: Text, maps: Maps) -> tuple[dict[str, Any], DecoderConfig]:
    """The model with these maps in the place of blocks, which learn what the dense one does."""
    params, config = replace_layers(model.params, model.config, maps)
    learn = {name: x for name, x in params.items() if ".linear." in name}
    pairs = tuple((i, i) for i in range(1, config.n_layers + 1))
    what = Distillation(logits=None, hidden=pairs, streams=True)
    T = text.calibration.shape[1] - 1
    settings = Settings(
        steps=STEPS, batch_size=8, seq_len=min(T, 128), lr=1e-3, warmup=5, weight_decay=0.0,
        eval_every=0,
    )  # fmt: skip
    trainer = Trainer(
        model.xp, config, learn, Windows(text.training, settings.seq_len), settings,
        parts=PartlyFrozen({name: x for name, x in params.items() if name not in learn}),
        loss=loss_of(Teacher(model.config, nest(model.params)), what),
    )  # fmt: skip
    for _ in trainer:
        pass
    return trainer.parts.model(model.xp, trainer.result), config


def spearman(a: list[float], b: list[float]) -> float:
    """The correlation of two rankings."""
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])


def main() -> None:
    model, texts = subject(arguments(__doc__))
    for text in texts:
        report(model, text)


def report(model: Model, text: Text) -> None:
    xp, config, p = model.xp, model.config, nest(model.params)
    L = config.n_layers

    # One block at a time: its facts, and the perplexity without it.

    facts = block_facts(xp, p, config, text.calibration)
    dense = perplexity(model, model.params, config, text)
    print(f"{text.name}: {text.calibration.size} tokens; dense {dense:.2f}")
    print("block  linearity  without residual  influence   removed  linear")
    removed, linear = [], []
    for i, block in enumerate(facts):
        maps = fit_maps_to_dense(xp, p, config, text.calibration, [i])
        removed.append(perplexity(model, *remove_layers(model.params, config, [i]), text))
        linear.append(perplexity(model, model.params, config, text, maps))
        print(
            f"{i:>5}  {block.linearity:9.3f}  {block.without_residual:16.3f}  "
            f"{block.influence:9.3f}  {removed[-1]:8.2f}  {linear[-1]:6.2f}"
        )

    # Several: the most linear first, or in another order.

    print(
        "blocks gone    by linearity   by influence   by number   linear, all at once   in order"
        "   distilled"
    )
    better, further = True, True
    for n in range(2, L):
        gone = {by: least_needed(facts, by, n) for by in ("linearity", "influence")}
        gone["number"] = list(range(n))
        without = [
            perplexity(model, *remove_layers(model.params, config, which), text)
            for which in gone.values()
        ]
        chosen = gone["linearity"]
        to_dense, after = (
            fit(xp, p, config, text.calibration, chosen)
            for fit in (fit_maps_to_dense, fit_maps_in_order)
        )
        at_once, in_order = (
            perplexity(model, model.params, config, text, maps) for maps in (to_dense, after)
        )
        taught = perplexity(model, *distilled(model, text, to_dense), text)
        better, further = better and in_order < at_once, further and taught < at_once
        print(f"{n:>11}  {without[0]:14.2f} {without[1]:14.2f} {without[2]:11.2f} "
              f"{at_once:21.2f} {in_order:10.2f} {taught:11.2f}")  # fmt: skip

    scores = [block.linearity for block in facts]
    agree = spearman(scores, [-x for x in removed])
    influence = spearman([-block.influence for block in facts], [-x for x in removed])
    print(f"rank correlation with the cost: linearity {agree:.2f}, influence {influence:.2f}")
    cheapest = int(np.argmin(removed))
    verdict("a linear map in a block's place is better than none",
            all(a < b for a, b in zip(linear, removed)))  # fmt: skip
    verdict("the most linear block is the cheapest to remove", cheapest == int(np.argmax(scores)))
    verdict("maps fitted in order are better than all to the dense model", better)
    verdict("distilled maps are better still", further)
    verdict("a mean score of 0.99", float(np.mean(scores)) > 0.985)
    print()


if __name__ == "__main__":
    main()
