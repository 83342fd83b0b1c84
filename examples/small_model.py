"""A model and its texts, for the examples that take trained models apart: 05, 08, 15 and 16."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import tinyllm
from tinyllm.backend import get_backend
from tinyllm.compression.texts import read_tokens
from tinyllm.model import Model
from tinyllm.models.config import DecoderConfig
from tinyllm.models.init import init_params
from tinyllm.models.rope import Rope
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.windows import Windows

CONTEXT = 64  # characters, of the model that is trained here


class Text(NamedTuple):
    """Tokens to calibrate on and to train on, and others to measure on."""

    name: str
    calibration: Any  # (B, T)
    held_out: Any  # (B, T)
    training: Any  # (N,)


def arguments(doc: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="with a model that is trained here")
    parser.add_argument("--model", help="the folder of a trained model")
    parser.add_argument("--data", type=Path, help="a text, its documents between <|endoftext|>")
    args = parser.parse_args()
    if not args.quick and args.model is None:
        parser.error("give a trained model's folder with --model, or --quick")
    return args


def subject(args: argparse.Namespace) -> tuple[Model, list[Text]]:
    """The model to take apart, and texts that it knows how to read."""
    if args.quick:
        return trained_here()
    model = tinyllm.load(args.model)
    calibration, held_out = sampled(model)
    texts = [Text("sampled from the model itself", calibration, held_out, calibration.reshape(-1))]
    if args.data is not None:
        texts.append(Text(args.data.name, *stories(model, args.data)))
    return model, texts


def trained_here() -> tuple[Model, list[Text]]:
    """Four blocks, trained for seconds on sentences by rule: who has what must be remembered."""
    said, rng = [], np.random.default_rng(0)
    for _ in range(1500):
        a, b = rng.permutation(["anna", "ben", "clara", "david", "eva"])[:2]
        what = f"{rng.choice(['red', 'green', 'old'])} {rng.choice(['ball', 'book', 'kite'])}"
        said.append(f"{a} gives {b} the {what}. now {b} has the {what}, and {a} has none.\n")
    _, tokens = np.unique(list("".join(said)), return_inverse=True)
    learnt, rest = np.split(tokens, [len(tokens) * 8 // 10])
    config = DecoderConfig(
        family="llama", vocab_size=int(tokens.max()) + 1, d_model=32, d_ff=80, n_layers=4,
        n_heads=4, n_kv_heads=2, head_dim=8, max_seq_len=CONTEXT, norm_eps=1e-5,
        windows=(None,) * 4, positions=Rope(theta=10000.0), tie_embeddings=True,
    )  # fmt: skip
    settings = Settings(steps=180, batch_size=8, seq_len=CONTEXT, lr=1e-2, warmup=10, eval_every=0)
    xp = get_backend("numpy")
    params = init_params(config, np.random.default_rng(0))
    trainer = Trainer(xp, config, params, Windows(learnt, CONTEXT), settings)
    for _ in trainer:
        pass
    rows = rest[: len(rest) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)
    text = Text("sentences by rule", *np.split(rows[:96], 2), learnt)
    return Model(config, trainer.result, xp=xp), [text]


def sampled(model: Model, texts: int = 48, length: int = 200) -> Iterator[Any]:
    """Two lots of texts drawn at temperature 1: the excess of their loss is KL to the model."""
    start = [model.config.bos_id if model.config.bos_id is not None else 0]
    for seed in (1, 2):
        drawn = model.generate_batch(
            [start] * texts, max_tokens=length - 1, temperature=1.0, top_p=1.0, seed=seed,
            ignore_eos=True,
        )  # fmt: skip
        yield np.array([start + list(text.tokens) for text in drawn])


def stories(model: Model, file: Path, texts: int = 128, length: int = 256) -> Iterator[Any]:
    """The beginning of a text to calibrate on, its end to measure on, the rest to train on."""
    tokens = read_tokens(file, model.tokenizer, model.config.vocab_size, separator="<|endoftext|>")
    for part in (tokens[: texts * length], tokens[-texts * length :]):
        yield part[: len(part) // length * length].reshape(-1, length)
    yield tokens[: -texts * length]


def verdict(expected: str, found: bool) -> None:
    """Say whether a claim holds here."""
    print(f"expected: {expected}: {'reproduced' if found else 'not reproduced at this scale'}")
