"""Time a step of training: python tools/bench_training.py [d256 15M gpt2] [--no-peer]

A step is a batch's loss, its gradient, clipped, and AdamW: here by tinyllm's trainer, there by
transformers on PyTorch, eager, in float32, both on the same model and batch and on all cores. They
take turns, and the best call of each counts, for other load only ever slows them down. Peak memory
is that of a process of its own that takes three steps; most of what PyTorch has before the first is
its program, so the growth beyond that stands beside it.
"""

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import understand
from tinyllm.models.config import DecoderConfig
from tinyllm.models.init import init_params
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tools.bench import SHAPES, best_of, llama, timed

BATCHES = {  # texts, tokens
    "tiny": (4, 16), "d256": (16, 256), "15M": (4, 256), "110M": (4, 64),
    "gpt2-tiny": (4, 16), "gpt2": (4, 64),
}  # fmt: skip
GPT2 = {  # the config of GPT-2 with 124M parameters, and of a small one
    "gpt2": {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024},
    "gpt2-tiny": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 64},
}
MEMORY = "--memory"  # NAME WHO: be the process whose peak is measured


class OneBatch:
    """A batch drawn once, whatever the position."""

    def __init__(self, vocab_size: int, B: int, T: int) -> None:
        tokens = np.random.default_rng(0).integers(0, vocab_size, (B, T + 1))
        self.tokens, self.targets = tokens[:, :-1].copy(), tokens[:, 1:].copy()

    def batch(self, position: tuple[int, int], size: int) -> tuple[Any, Any, tuple[int, int]]:
        return self.tokens, self.targets, position


def config_of(name: str) -> DecoderConfig:
    """A Llama of these sizes, or a GPT-2."""
    if name not in GPT2:
        return llama(name)
    config = understand(KeyReader({"model_type": "gpt2", **GPT2[name]}, name))
    assert isinstance(config, DecoderConfig)
    return config


def ours(name: str) -> Callable[[], Any]:
    """Return a function that takes a step."""
    config, (B, T) = config_of(name), BATCHES[name]
    params = init_params(config, np.random.default_rng(0))
    settings = Settings(steps=10**6, batch_size=B, seq_len=T)
    data = OneBatch(config.vocab_size, B, T)
    return Trainer(get_backend("numpy"), config, params, data, settings).advance


def theirs(name: str) -> Callable[[], Any]:
    """Return a function that takes the same step with PyTorch."""
    import torch

    model = their_model(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    data = OneBatch(model.config.vocab_size, *BATCHES[name])
    tokens, targets = torch.from_numpy(data.tokens), torch.from_numpy(data.targets)

    def step() -> float:
        logits = model(tokens, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def their_model(name: str) -> Any:
    """Return the same model by transformers; nothing is dropped out."""
    import transformers

    if name in GPT2:
        none = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2[name], **none))
    D, F, L, H, K, V, tied = SHAPES[name]
    config = transformers.LlamaConfig(
        hidden_size=D, intermediate_size=F, num_hidden_layers=L, num_attention_heads=H,
        num_key_value_heads=K, vocab_size=V, tie_word_embeddings=tied, max_position_embeddings=2048,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


WHO: dict[str, Callable[[str], Callable[[], Any]]] = {"tinyllm": ours, "PyTorch": theirs}


def print_memory(name: str, who: str) -> None:
    """Print the megabytes that this process had at most before and during three steps."""
    WHO[who]("tiny")()  # what a first step loads belongs to the program
    before = peak()
    step = WHO[who](name)
    for _ in range(3):
        step()
    print(before, peak())


def peak() -> int:
    """The most that was resident, in MB; unlike getrusage's, not inherited from the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def report(name: str, who: list[str], rounds: int) -> None:
    """Print a line for each contestant, ours with what it is to the other's."""
    steps = {each: WHO[each](name) for each in who}
    for step in steps.values():
        step()
    best = best_of(rounds, {each: partial(timed, step) for each, step in steps.items()})
    B, T = BATCHES[name]
    print(f"\n{name}, {B} texts of {T} tokens")
    for each in who:
        words = [sys.executable, __file__, name, MEMORY, each]
        before, most = map(int, subprocess.check_output(words, text=True).split())
        ratio = f", {best[who[-1]] / best[each]:.2f}x {who[-1]}" if each != who[-1] else ""
        print(f"  {each:8} {B * T / best[each]:7.0f} tok/s{ratio:16}", end="")
        print(f"  peak {most} MB, {most - before} MB more than the program")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(BATCHES))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--no-peer", action="store_true", help="time tinyllm alone")
    parser.add_argument(MEMORY, choices=WHO, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.memory:
        print_memory(args.shapes[0], args.memory)
        return 0
    print(f"{platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}, float32")
    for name in args.shapes or ["d256", "15M"]:
        report(name, ["tinyllm"] if args.no_peer else list(WHO), args.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
