"""Time decoding and prefill on random Llamas: python tools/bench.py [15M 110M 1.1B] [--peers]

Each row stands beside the limit of the same run: the rate at which this machine multiplies a large
float32 matrix with a vector (GEMV), which reads every weight once, as decoding one token must.
--peers adds transformers on PyTorch, where installed. Other load on the machine spoils all figures.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.inference.session import Session
from tinyllm.models.config import DecoderConfig, param_shapes
from tinyllm.models.decoder import head_forward, hidden_states
from tinyllm.models.init import init_params
from tinyllm.models.packing import pack_params
from tinyllm.models.rope import Rope
from tinyllm.params import nest

# d_model, d_ff, layers, heads, key heads, vocabulary, tied
SHAPES = {
    "15M": (288, 768, 6, 6, 6, 32000, True),
    "110M": (768, 2048, 12, 12, 12, 32000, True),
    "1.1B": (2048, 5632, 22, 32, 4, 32000, False),
}


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
        rope=Rope(theta=10000.0),
        tie_embeddings=tied,
    )


def bytes_per_token(config: DecoderConfig) -> int:
    """The weights that one decoded token reads: all, but of an untied embedding only a row."""
    shapes = param_shapes(config)
    if not config.tie_embeddings:
        shapes.pop("model.embed_tokens.weight")
    return 4 * sum(int(np.prod(shape)) for shape in shapes.values())


def gemv_rate() -> float:
    """Bytes per second of W @ x on a matrix of 512 MB: the best of some, for it is a limit."""
    weight, x = np.ones((32768, 4096), np.float32), np.ones(4096, np.float32)
    seconds = min(timed(lambda: weight @ x) for _ in range(8))
    return weight.nbytes / seconds


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def decode_seconds(config: DecoderConfig, tree: dict[str, Any], prompt: int, tokens: int) -> float:
    """The median time of one token after a short prompt."""
    session = Session(get_backend("numpy"), tree, config, [[1] * prompt], max_tokens=tokens + 3)
    session.prefill()
    times = [timed(lambda: session.step([5])) for _ in range(tokens + 3)]
    return statistics.median(times[3:])


def prefill_seconds(config: DecoderConfig, tree: dict[str, Any], T: int, *, full: bool) -> float:
    """The best of three: with the logits of every position, or of the last one only."""
    xp, tokens = get_backend("numpy"), np.arange(T)[None] % config.vocab_size

    def scores(tokens: Any) -> Any:
        return head_forward(xp, hidden_states(xp, tokens, tree, config), tree)

    if full:
        return min(timed(lambda: scores(tokens)) for _ in range(3))
    prompts = tokens.tolist()
    return min(timed(Session(xp, tree, config, prompts, max_tokens=1).prefill) for _ in range(3))


def peer(name: str, T: int, tokens: int) -> tuple[float, float]:
    """Seconds of one decoded token and of a prefill with full logits, in transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    D, F, L, H, K, V, tied = SHAPES[name]
    config = LlamaConfig(
        hidden_size=D, intermediate_size=F, num_hidden_layers=L, num_attention_heads=H,
        num_key_value_heads=K, vocab_size=V, tie_word_embeddings=tied, max_position_embeddings=2048,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.inference_mode():
        ids = torch.arange(T)[None] % V
        prefill = min(timed(lambda: model(ids)) for _ in range(3))
        out = model(ids[:, :16], use_cache=True)
        times = []
        for _ in range(tokens + 3):
            start = time.perf_counter()
            out = model(torch.tensor([[5]]), past_key_values=out.past_key_values, use_cache=True)
            times.append(time.perf_counter() - start)
    return statistics.median(times[3:]), prefill


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help="default: all")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode (default: 64)")
    parser.add_argument("--prefill", type=int, default=512, help="tokens to read (default: 512)")
    parser.add_argument("--peers", action="store_true", help="time transformers beside")
    args = parser.parse_args()

    numpy = get_backend("numpy")
    rate = gemv_rate()
    print(f"{platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}, float32")
    print(f"GEMV of 512 MB: {rate / 1e9:.1f} GB/s\n")
    print("| model | decode tok/s | GEMV roofline | fraction | prefill tok/s | last logit only |")
    print("|---|---|---|---|---|---|")
    notes = []
    for name in args.shapes or SHAPES:
        config = llama(name)
        tree = pack_params(numpy, nest(init_params(config, np.random.default_rng(0))))
        rate = gemv_rate()  # again: a shared machine's speed drifts
        roofline = rate / bytes_per_token(config)
        decode = 1 / decode_seconds(config, tree, 16, args.tokens)
        T = args.prefill
        full, last = (T / prefill_seconds(config, tree, T, full=f) for f in (True, False))
        print(
            f"| {name} | {decode:.1f} | {roofline:.1f} | {decode / roofline:.2f} "
            f"| {full:.0f} | {last:.0f} |",
            flush=True,
        )
        del tree
        if args.peers:
            seconds, prefill = peer(name, T, args.tokens)
            notes.append(
                f"{name}: decode {decode * seconds:.2f}x, prefill {full * prefill / T:.2f}x "
                f"transformers ({1 / seconds:.1f} and {T / prefill:.0f} tok/s)"
            )
    print("\n" + "\n".join(notes) if notes else "", end="\n" if notes else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
