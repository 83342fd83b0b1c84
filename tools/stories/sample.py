"""Let a model tell stories: python tools/stories/sample.py MODEL OUT --data FOLDER [--megabytes X]

Every token is drawn from the model's own distribution, so the text says what the model knows:
a larger model may learn it from there. Stories that do not end, and those that share a run with a
validation story, are left out. The same seed gives the same stories on the same machine.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from corpus import END, ORIGINAL, Runs, split_original, split_validation

import tinyllm
from tinyllm.inference.session import Session
from tinyllm.model import Model
from tinyllm.params import nest

BATCH = 256
LEAST = 100  # characters of a story


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder of TinyStories")
    parser.add_argument("--megabytes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    original = split_original((args.data / ORIGINAL).read_text(encoding="utf-8"))
    held_out = Runs(split_validation(original)[1])
    model, rng = tinyllm.load(args.model), np.random.default_rng(args.seed)
    start, size = time.monotonic(), 0
    with args.out.open("w", encoding="utf-8") as file:
        while size < args.megabytes * 1e6:
            for story in tell(model, rng):
                if len(story) >= LEAST and not held_out.shares(story):
                    size += file.write(f"{story}\n{END}\n")
            print(f"{size:,} characters, {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 0


def tell(model: Model, rng: np.random.Generator) -> list[str]:
    """Sample a batch of stories, each from BOS until the next one, and return those that end."""
    tokenizer = model.tokenizer
    if tokenizer is None or tokenizer.bos_id is None:
        raise SystemExit("the model has no tokenizer with a token that begins a text")
    length = model.config.max_seq_len - 1
    prompts = [[tokenizer.bos_id]] * BATCH
    session = Session(model.xp, nest(model.params), model.config, prompts, max_tokens=length)
    ends = np.array(sorted({tokenizer.bos_id, *model.eos_ids}))
    scores, drawn = session.prefill(), []
    ended = np.zeros(BATCH, bool)
    while len(drawn) < length and not ended.all():
        noise = rng.gumbel(size=scores.shape).astype(scores.dtype)
        drawn.append(np.argmax(scores + noise, axis=-1))  # a draw from softmax(scores)
        ended |= np.isin(drawn[-1], ends)
        scores = session.step(drawn[-1].tolist())
    rows, stories = np.stack(drawn, axis=1), []
    for row in rows[ended]:
        stop = int(np.argmax(np.isin(row, ends)))
        stories.append(tokenizer.decode(row[:stop].tolist()).strip())
    return stories


if __name__ == "__main__":
    sys.exit(main())
