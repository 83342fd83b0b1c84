"""Time decoding and prefill on random Llamas: python tools/bench.py [15M 110M 1.1B] [--peers]

Every figure stands beside a limit or a peer of the same run: all contestants take turns, and the
best call of each counts, for other load on the machine only ever slows them down.

roofline   the rate at which W @ x reads a large float32 matrix: what decoding one token could be
X @ W.T    several texts at once with every product as NumPy makes it, for comparison
--peers    transformers on PyTorch, where installed
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.inference.kv_cache import KVCache
from tinyllm.inference.prefill import prefill as read
from tinyllm.inference.session import Session
from tinyllm.models.config import DecoderConfig, param_shapes
from tinyllm.models.decoder import head_forward
from tinyllm.models.init import init_params
from tinyllm.models.packing import pack_params
from tinyllm.models.rope import Rope
from tinyllm.params import nest

# d_model, d_ff, layers, heads, key heads, vocabulary, tied
SHAPES = {
    "tiny": (32, 64, 2, 4, 2, 64, True),
    "d256": (256, 688, 4, 8, 8, 4096, False),
    "15M": (288, 768, 6, 6, 6, 32000, True),
    "110M": (768, 2048, 12, 12, 12, 32000, True),
    "1.1B": (2048, 5632, 22, 32, 4, 32000, False),
}
PROMPT = 16  # tokens before those that are timed
numpy = get_backend("numpy")


def llama(name: str) -> DecoderConfig:
    D, F, L, H, K, V, tied = SHAPES[name]
    return DecoderConfig(
        family="llama",
        vocab_size=V,
        d_model=D,
        d_ff=F,
        n_layers=L,
        n_heads=H,
        n_kv_heads=K,
        head_dim=D // H,
        max_seq_len=2048,
        norm_eps=1e-5,
        positions=Rope(theta=10000.0),
        windows=(None,) * L,
        tie_embeddings=tied,
    )


def bytes_per_token(config: DecoderConfig) -> int:
    """The weights that one decoded token reads: all, but of an untied embedding only a row."""
    shapes = param_shapes(config)
    if not config.tie_embeddings:
        shapes.pop("model.embed_tokens.weight")
    return 4 * sum(int(np.prod(shape)) for shape in shapes.values())


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def best_of(rounds: int, contestants: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Let all take turns; return the fewest seconds of each."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            time.sleep(0.1)  # threads that wait for more of the last one's work fall asleep
            taken[name].append(contestant())
    return {name: min(seconds) for name, seconds in taken.items()}


def gemv() -> Callable[[], float]:
    """Seconds per byte of W @ x on a matrix of 512 MB."""
    weight, x = np.ones((32768, 4096), np.float32), np.ones(4096, np.float32)
    return lambda: min(timed(lambda: weight @ x) for _ in range(3)) / weight.nbytes


def decoding(backend: Any, tree: Any, config: DecoderConfig, batch: int, n: int) -> Any:
    """Seconds of a step, which gives each text of the batch one token: the best of n."""

    def measure() -> float:
        session = Session(backend, tree, config, [[1] * PROMPT] * batch, max_tokens=n + 2)
        session.prefill()
        return min(timed(lambda: session.step([5] * batch)) for _ in range(n))

    return measure


def prefill(tree: Any, config: DecoderConfig, T: int, *, full: bool) -> Callable[[], float]:
    """Seconds for T tokens, with the logits of every position or of the last one only."""
    tokens = np.arange(T)[None] % config.vocab_size

    def run() -> None:
        kv = KVCache(numpy, config, batch=1, capacity=T, dtype=np.float32)
        hidden = read(numpy, tokens, tree, config, kv)
        head_forward(numpy, hidden if full else hidden[:, -1:], tree)

    return lambda: timed(run)


def plain_products() -> Any:
    """The NumPy backend with every product as x @ W.T."""
    parts = {name: getattr(numpy, name) for name in dir(numpy) if not name.startswith("__")}
    return SimpleNamespace(**(parts | {"linear": lambda x, weight: x @ weight.T}))


def peers(name: str, T: int, n: int) -> dict[str, Callable[[], float]]:
    """The same, by transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    D, F, L, H, K, V, tied = SHAPES[name]
    config = LlamaConfig(
        hidden_size=D, intermediate_size=F, num_hidden_layers=L, num_attention_heads=H,
        num_key_value_heads=K, vocab_size=V, tie_word_embeddings=tied, max_position_embeddings=2048,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    ids = torch.arange(T)[None] % V

    @torch.inference_mode()
    def decode() -> float:
        out = model(ids[:, :PROMPT], use_cache=True)

        def step() -> None:
            nonlocal out
            out = model(torch.tensor([[5]]), past_key_values=out.past_key_values, use_cache=True)

        return min(timed(step) for _ in range(n))

    @torch.inference_mode()
    def read(keep: int) -> float:
        return timed(lambda: model(ids, logits_to_keep=keep))

    return {
        "peer decode": decode,
        "peer prefill": lambda: read(0),
        "peer last": lambda: read(1),
    }


def report(name: str, args: argparse.Namespace) -> None:
    config, T, n = llama(name), args.prefill, args.tokens
    plain = nest(init_params(config, np.random.default_rng(0)))
    tree = pack_params(numpy, plain)
    contestants = {
        "roofline": gemv(),
        "decode": decoding(numpy, tree, config, 1, n),
        "prefill": prefill(tree, config, T, full=True),
        "last": prefill(tree, config, T, full=False),
    }
    for batch in args.batch:
        contestants[f"batch {batch}"] = decoding(numpy, tree, config, batch, n)
        contestants[f"plain {batch}"] = decoding(plain_products(), plain, config, batch, n)
    if args.peers:
        contestants |= peers(name, T, n)
    best = best_of(args.rounds, contestants)
    limit = 1 / (best["roofline"] * bytes_per_token(config))
    decode = 1 / best["decode"]
    print(f"\n{name}: GEMV {1e-9 / best['roofline']:.1f} GB/s")
    print(f"  decode         {decode:8.1f} tok/s   {decode / limit:.2f} of the roofline", end="")
    print(f", {decode * best['peer decode']:.2f}x transformers" if args.peers else "")
    for label, key in (("all logits", "prefill"), ("last logit", "last")):
        print(f"  prefill {T:4d}   {T / best[key]:8.1f} tok/s   {label}", end="")
        print(f", {best[f'peer {key}'] / best[key]:.2f}x transformers" if args.peers else "")
    for batch in args.batch:
        rate, ratio = (
            batch / best[f"batch {batch}"],
            best[f"plain {batch}"] / best[f"batch {batch}"],
        )
        print(f"  {batch} at once      {rate:8.1f} tok/s   {ratio:.2f}x X @ W.T")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--tokens", type=int, default=32, help="decoded in a round (default: 32)")
    parser.add_argument("--prefill", type=int, default=512, help="tokens to read (default: 512)")
    parser.add_argument("--batch", type=int, nargs="*", default=[2, 4, 8], help="texts at once")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--peers", action="store_true", help="time transformers beside")
    args = parser.parse_args(argv)
    print(f"{platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}, float32")
    for name in args.shapes or ["15M", "110M", "1.1B"]:
        report(name, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
