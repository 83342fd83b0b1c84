"""Which half of a model's weights can go: the small ones, or those small times their input?

Magnitude pruning removes the smallest weights. Wanda (Sun et al. 2023, arXiv:2306.11695) multiplies
each weight by the norm of what it is given, S = |W| ‖x‖, and compares within each output: no weight
is changed, and the text is read once. For LLaMA-7B at 50 % the paper has a perplexity of 17.29 by
magnitude, 7.26 by Wanda, 5.68 dense: published numbers, which cannot be run here.

Expected: Wanda is better than magnitude at every sparsity and pattern; a model this small is far
from dense at 50 %, unlike one of 7B. The ablations take Wanda apart: "by row" alone is magnitude
within each output, "x norm" alone is Wanda's score over the whole matrix. SparseGPT moves what is
lost to the weights that stay, and should be best.

    python examples/05_wanda.py --quick
    python examples/05_wanda.py --model stories260K --data stories.txt
"""

from typing import Any

from small_model import Text, arguments, subject

from tinyllm.compression.masks import MATRIX, ROW, read_pattern
from tinyllm.compression.pruning import prune_params
from tinyllm.compression.texts import perplexity
from tinyllm.model import Model

# What is compared: how weights are scored, and among which the lowest go.

WAYS = {
    "magnitude": ("magnitude", MATRIX),
    "by row": ("magnitude", ROW),
    "x norm": ("wanda", MATRIX),
    "Wanda": ("wanda", ROW),
    "SparseGPT": ("sparsegpt", ROW),
}
CASES: dict[str, tuple[str, float | None]] = {
    "30 %": ("unstructured", 0.3), "50 %": ("unstructured", 0.5), "60 %": ("unstructured", 0.6),
    "2:4": ("2:4", None), "4:8": ("4:8", None),
}  # fmt: skip


def measured(model: Model, params: dict[str, Any], text: Text) -> float:
    """The perplexity of the model with these parameters, on texts that did not calibrate it."""
    changed = Model(model.config, params, xp=model.xp)
    context = text.held_out.shape[1]
    return perplexity(changed, text.held_out.reshape(-1), context=context)[0]


def table(model: Model, text: Text) -> dict[str, dict[str, float]]:
    """Prune in each way, by each pattern: perplexities."""
    widths = {x.shape[1] for x in model.params.values() if x.ndim == 2}
    found: dict[str, dict[str, float]] = {}
    for case, (name, sparsity) in CASES.items():
        found[case] = {}
        m = int(name.partition(":")[2] or 1)
        # Rows of 172 inputs have no whole groups of 8: that matrix stays dense, in every way alike.
        skip = ["down_proj"] if any(width % m for width in widths) else []
        for way, (method, within) in WAYS.items():
            params = prune_params(
                model.xp, model.params, model.config, method,
                read_pattern(name, sparsity, within), text.calibration, skip=skip,
            )  # fmt: skip
            found[case][way] = measured(model, params, text)
    return found


def main() -> None:
    model, texts = subject(arguments(__doc__))
    for text in texts:
        B, T = text.calibration.shape
        print(
            f"{text.name}: {B} samples of {T} tokens; "
            f"dense {measured(model, model.params, text):.2f}"
        )
        print("        " + "".join(f"{way:>11}" for way in WAYS))
        found = table(model, text)
        for case, row in found.items():
            print(f"{case:>6}  " + "".join(f"{row[way]:11.2f}" for way in WAYS))
        wins = sum(row["Wanda"] < row["magnitude"] for row in found.values())
        print(
            f"expected: Wanda below magnitude in every row; it is in {wins} of {len(found)}: "
            + ("reproduced" if wins == len(found) else "not reproduced at this scale")
        )
        print()
    print("a model of 7B near its dense perplexity at 50 %: cannot be tested at this scale")


if __name__ == "__main__":
    main()
